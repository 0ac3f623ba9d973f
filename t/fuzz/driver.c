/*
 * main for a fuzz target without a fuzzer: gives every file of the directories
 * (or every file) named on the command line to the target once. Used by the
 * ordinary tests, so that a corpus cannot rot.
 */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    struct stat st;
    size_t n;

    if (!f || fstat(fileno(f), &st) < 0) {
        perror(path);
        if (f)
            fclose(f);
        return 1;
    }
    /* Memory of exactly the size shows a read behind the end. */
    n = (size_t)st.st_size;
    data = malloc(n ? n : 1);
    if (!data || fread(data, 1, n, f) != n) {
        perror(path);
        fclose(f);
        free(data);
        return 1;
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    return 0;
}

static int replay_dir(const char *path, int *files)
{
    DIR *d = opendir(path);
    struct dirent *e;
    char name[4096];
    int bad = 0;

    if (!d) {
        (*files)++;
        return replay(path);
    }
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        bad += replay(name);
        (*files)++;
    }
    closedir(d);
    return bad;
}

int main(int argc, char **argv)
{
    int i, bad = 0, files = 0;

    for (i = 1; i < argc; i++)
        bad += replay_dir(argv[i], &files);
    printf("%d files\n", files);
    return bad || files == 0;
}
