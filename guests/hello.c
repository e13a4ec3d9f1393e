// Says hello, and repeats its arguments if it was given any.
//
// It needs nothing but `console`. Exit code: 0.
#include <wasmos.h>

int main(void) {
    print("Hello from WasmOS!\n");

    // A task without authority over `args` gets an error here, which is no arguments too.
    int count = arg_count();
    for (int i = 1; i < count; i++) { // 0 is the program's name
        char value[1024];
        if (IS_ERROR(arg_get(i, value, sizeof(value)))) {
            break;
        }
        print(i == 1 ? "My arguments: " : ", ");
        print(value);
    }
    if (count > 1) {
        print("\n");
    }
    return 0;
}
