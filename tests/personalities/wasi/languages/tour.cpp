// A tour of what programs ask of a system: see test_languages.py. Without exceptions, and with the
// C library's files: this C++ library for WASI has none of its own.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

using File = std::unique_ptr<FILE, int (*)(FILE *)>;

static File open(const char *path, const char *mode) { return {fopen(path, mode), fclose}; }

static std::string read(const char *path) {
    std::string text(100, '\0');
    File file = open(path, "r");
    text.resize(file ? fread(text.data(), 1, text.size(), file.get()) : 0);
    return text;
}

static void list() {
    std::vector<std::string> names;
    std::unique_ptr<DIR, int (*)(DIR *)> directory(opendir("/tour"), closedir);
    while (const dirent *entry = readdir(directory.get())) {
        if (entry->d_name[0] != '.') {
            names.emplace_back(entry->d_name);
        }
    }
    std::sort(names.begin(), names.end());
    for (const auto &name : names) {
        std::cout << ' ' << name;
    }
}

static const char *word(bool is) { return is ? "yes" : "no"; }

int main(int argc, char **argv) {
    std::cout << "arguments:";
    for (const auto &argument : std::vector<std::string>(argv + 1, argv + argc)) {
        std::cout << " <" << argument << '>';
    }
    std::cout << "\nenvironment: " << std::getenv("WHO") << '\n';

    for (std::string line; std::getline(std::cin, line);) {
        std::cout << "input: " << line << '\n';
    }
    std::cerr << "an error" << std::endl;

    mkdir("/tour/sub", 0777);
    fputs("content", open("/tour/sub/one", "w").get());
    rename("/tour/sub/one", "/tour/two");
    struct stat found = {};
    stat("/tour/two", &found);
    std::cout << "file: " << read("/tour/two") << ", " << found.st_size << " bytes\nnames:";
    list();
    remove("/tour/two");
    rmdir("/tour/sub");
    std::cout << "\nthen:";
    list();
    std::cout << "\nelsewhere: " << (open("/etc/passwd", "r") ? "there" : "nothing") << '\n';

    using namespace std::chrono;
    const auto before = steady_clock::now();
    const timespec a_while = {0, 10'000'000};
    nanosleep(&a_while, nullptr);
    std::cout << "slept: " << word(steady_clock::now() - before >= 10ms) << '\n';
    const auto today = system_clock::now().time_since_epoch();
    std::cout << "date: " << word(today > seconds(1'700'000'000)) << '\n';
    std::random_device chance;
    const auto draw = [&] { return std::uint64_t{chance()} << 32 | chance(); };
    std::cout << "chance: " << word(draw() != draw()) << std::endl;
    return 7;
}
