// fs: files by libc: read, list, stat, remove, mkdir PATH; write, append PATH TEXT; rename, link, symlink FROM TO.
// world: run
// Answers with the content, the names (one a line), the size, or "ok"; or with "error: " and libc's words.
#include "run.h"
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static char *failed(void) { return format("error: %s", strerror(errno)); }

static char *done(int result) { return result == 0 ? format("ok") : failed(); }

static char *read_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return failed();
    char *content = calloc(1, 1 << 20);
    size_t size = fread(content, 1, (1 << 20) - 1, file);
    if (size == 0 && ferror(file)) return failed();
    fclose(file);
    return content;
}

static char *write_file(const char *path, const char *mode, const char *content) {
    FILE *file = fopen(path, mode);
    if (file == NULL) return failed();
    if (fputs(content, file) < 0) return failed();
    return done(fclose(file));
}

static char *list(const char *path) {
    DIR *directory = opendir(path);
    if (directory == NULL) return failed();
    char *names = format("");
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) names = format("%s%s\n", names, entry->d_name);
    closedir(directory);
    return names;
}

static char *answer(const char *args) {
    char *verb = strdup(args), *path = strchr(verb, ' ');
    if (path == NULL) return format("error: what, and which path?");
    *path++ = 0;
    if (strcmp(verb, "read") == 0) return read_file(path);
    if (strcmp(verb, "list") == 0) return list(path);
    if (strcmp(verb, "remove") == 0) return done(remove(path));
    if (strcmp(verb, "mkdir") == 0) return done(mkdir(path, 0777));
    if (strcmp(verb, "stat") == 0) {
        struct stat found;
        return stat(path, &found) == 0 ? format("%lld", (long long)found.st_size) : failed();
    }
    char *second = strchr(path, ' ');
    if (second == NULL) return format("error: %s needs a second word", verb);
    *second++ = 0;
    if (strcmp(verb, "write") == 0) return write_file(path, "w", second);
    if (strcmp(verb, "append") == 0) return write_file(path, "a", second);
    if (strcmp(verb, "rename") == 0) return done(rename(path, second));
    if (strcmp(verb, "link") == 0) return done(link(path, second));
    if (strcmp(verb, "symlink") == 0) return done(symlink(path, second));
    return format("error: cannot %s", verb);
}
