/* A tour of what programs ask of a system: see test_languages.py. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int in_order(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void list(void) {
    char *names[8];
    size_t count = 0;
    DIR *directory = opendir("/tour");
    for (struct dirent *entry; directory && (entry = readdir(directory)) && count < 8;) {
        if (entry->d_name[0] != '.') {
            names[count++] = strdup(entry->d_name);
        }
    }
    closedir(directory);
    qsort(names, count, sizeof(*names), in_order);
    for (size_t i = 0; i < count; i++) {
        printf(" %s", names[i]);
        free(names[i]);
    }
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    printf("arguments:");
    for (int i = 1; i < argc; i++) {
        printf(" <%s>", argv[i]);
    }
    printf("\nenvironment: %s\n", getenv("WHO"));

    char line[100];
    while (fgets(line, sizeof(line), stdin)) {
        printf("input: %.*s\n", (int)strcspn(line, "\n"), line);
    }
    fprintf(stderr, "an error\n");

    mkdir("/tour/sub", 0777);
    FILE *file = fopen("/tour/sub/one", "w");
    fputs("content", file);
    fclose(file);
    rename("/tour/sub/one", "/tour/two");
    struct stat found;
    stat("/tour/two", &found);
    char text[100] = "";
    file = fopen("/tour/two", "r");
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    printf("file: %s, %d bytes\nnames:", text, (int)found.st_size);
    list();
    remove("/tour/two");
    rmdir("/tour/sub");
    printf("\nthen:");
    list();
    printf("\nelsewhere: %s\n", fopen("/etc/passwd", "r") ? "there" : "nothing");

    double before = now();
    struct timespec a_while = {.tv_nsec = 10 * 1000 * 1000};
    nanosleep(&a_while, NULL);
    printf("slept: %s\n", now() - before >= 0.01 ? "yes" : "no");
    printf("date: %s\n", time(NULL) > 1700000000 ? "yes" : "no");
    unsigned char one[16], two[16];
    getentropy(one, sizeof(one));
    getentropy(two, sizeof(two));
    printf("chance: %s\n", memcmp(one, two, sizeof(one)) ? "yes" : "no");
    return 7;
}
