/* Programs for the tests, with a C library for WASI: the first argument says which. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int hello(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("hello, %s\n", "world");
    fprintf(stderr, "and an error\n");
    return 0;
}

static int arguments(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        printf("%d=%s\n", i, argv[i]);
    }
    for (char **each = environ; *each != NULL; each++) {
        printf("%s\n", *each);
    }
    printf("HOME is %s\n", getenv("HOME"));
    return 0;
}

static int copy(int argc, char **argv) {
    FILE *from = argc > 3 ? fopen(argv[2], "rb") : NULL;
    FILE *to = from != NULL ? fopen(argv[3], "wb") : NULL;
    if (to == NULL) {
        perror("copy");
        return 1;
    }
    char buffer[3000];
    size_t size;
    while ((size = fread(buffer, 1, sizeof(buffer), from)) > 0) {
        if (fwrite(buffer, 1, size, to) != size) {
            return 2;
        }
    }
    return fclose(to) != 0 || fclose(from) != 0;
}

static int compare(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static int list(int argc, char **argv) {
    DIR *directory = opendir(argc > 2 ? argv[2] : ".");
    if (directory == NULL) {
        perror("list");
        return 1;
    }
    static char *names[2000];
    size_t count = 0;
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        names[count++] = strdup(entry->d_name);
    }
    closedir(directory);
    qsort(names, count, sizeof(*names), compare);
    for (size_t i = 0; i < count; i++) {
        struct stat known;
        char path[600];
        snprintf(path, sizeof(path), "%s/%s", argv[2], names[i]);
        if (stat(path, &known) != 0) {
            perror(path);
            return 1;
        }
        printf("%s%s %lld\n", names[i], S_ISDIR(known.st_mode) ? "/" : "",
               (long long)known.st_size);
    }
    return 0;
}

static int sleeps(int argc, char **argv) {
    (void)argc;
    (void)argv;
    struct timespec before, after, pause = {.tv_nsec = 50 * 1000 * 1000};
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&pause, NULL);
    usleep(50 * 1000);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    int ready = poll(&input, 1, 50);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long long ns = (after.tv_sec - before.tv_sec) * 1000000000ll + after.tv_nsec - before.tv_nsec;
    printf("%lld ms, %d ready\n", ns / 1000000, ready);
    return 0;
}

static int chance(int argc, char **argv) {
    (void)argc;
    (void)argv;
    unsigned char bytes[32] = {0};
    if (getentropy(bytes, sizeof(bytes)) != 0) {
        perror("chance");
        return 1;
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        printf("%02x", bytes[i]);
    }
    return 0;
}

static int changes(int argc, char **argv) {
    (void)argc;
    (void)argv;
    char text[16] = {0};
    int file = open("/new", O_CREAT | O_EXCL | O_RDWR, 0666);
    if (file < 0 || write(file, "0123456789", 10) != 10 || lseek(file, 3, SEEK_SET) != 3 ||
        read(file, text, 4) != 4 || strcmp(text, "3456") != 0 || ftruncate(file, 2) != 0 ||
        lseek(file, 0, SEEK_END) != 2 || fsync(file) != 0 || close(file) != 0) {
        perror("file");
        return 1;
    }
    if (open("/new", O_CREAT | O_EXCL | O_RDWR, 0666) >= 0 || errno != EEXIST) {
        return 2;
    }
    if (mkdir("/dir", 0777) != 0 || rename("/new", "/dir/moved") != 0 ||
        link("/dir/moved", "/again") != 0 || symlink("dir/moved", "/link") != 0 ||
        readlink("/link", text, sizeof(text)) != 9 || unlink("/again") != 0) {
        perror("names");
        return 3;
    }
    if (rmdir("/dir") == 0 || errno != ENOTEMPTY) {
        return 4;
    }
    return 0;
}

static int echo(int argc, char **argv) {
    (void)argc;
    (void)argv;
    char line[100];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        printf("> %s", line);
    }
    return 0;
}

/* What each of the files has in it, or why it can't be opened. */
static int reach(int argc, char **argv) {
    for (int i = 2; i < argc; i++) {
        char text[16] = "";
        FILE *file = fopen(argv[i], "r");
        if (file != NULL && fgets(text, sizeof(text), file) != NULL) {
            printf("%s: %s\n", argv[i], text);
        } else {
            printf("%s: error %d\n", argv[i], errno);
        }
    }
    return 0;
}

static int leaves(int argc, char **argv) {
    printf("not flushed yet");
    exit(argc > 2 ? atoi(argv[2]) : 0);
}

/* Open a file again and again. How often, and why not once more. */
static int opens(int argc, char **argv) {
    int count = 0;
    while (argc > 2 && open(argv[2], O_RDONLY) >= 0) {
        count++;
    }
    printf("%d %d\n", count, errno == EMFILE);
    return 0;
}

/* Keep what it gets of memory, until there is none. */
static int hoards(int argc, char **argv) {
    (void)argv;
    static char *volatile last; /* or nothing would be taken at all */
    for (;;) {
        char *more = malloc(1 << 20);
        if (more == NULL) {
            if (argc > 2) {
                perror("hoards");
                return 1;
            }
            abort();
        }
        last = more;
    }
}

static int aborts(int argc, char **argv) {
    (void)argc;
    (void)argv;
    abort();
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } programs[] = {
        {"hello", hello},   {"arguments", arguments}, {"copy", copy}, {"list", list},
        {"sleeps", sleeps}, {"chance", chance},       {"echo", echo}, {"changes", changes},
        {"leaves", leaves}, {"aborts", aborts},       {"reach", reach}, {"hoards", hoards}, {"opens", opens},
    };
    for (size_t i = 0; argc > 1 && i < sizeof(programs) / sizeof(*programs); i++) {
        if (strcmp(argv[1], programs[i].name) == 0) {
            return programs[i].run(argc, argv);
        }
    }
    return 100;
}
