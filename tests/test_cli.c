/* The command line as a user meets it: every wrong input gets one clear line on stderr, the right exit status, nothing
 * on stdout, no partial file. And the promises: help, JSON keys, determinism, streams. Runs the program itself.
 */
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "tests/suite.h"

enum { ARGS = 20 };

struct bad {
    const char *args[ARGS];
    int status;
    const char *says[3]; /* each must stand in the message */
};

/* One line, exit status, words, no result. */
static void check_bad(const struct bad *b) {
    char *out, *err;
    int status = run_mho(b->args, 60, &out, &err);
    if (status != b->status) {
        fail_msg("mho %s %s ...: status %d, expected %d; stderr: %s", b->args[0], b->args[1] ? b->args[1] : "", status,
                 b->status, err);
    }
    for (int i = 0; i < 3 && b->says[i]; i++) {
        if (!err || !strstr(err, b->says[i])) {
            fail_msg("mho %s %s ...: \"%s\" is not in: %s", b->args[0], b->args[1] ? b->args[1] : "", b->says[i], err);
        }
    }
    if (out && out[0]) {
        fail_msg("mho %s: wrote to stdout in spite of the error: %.100s", b->args[0], out);
    }
    const char *newline = strchr(err, '\n');
    if (strncmp(err, "mho: ", 5) != 0 || !newline || newline[1] != 0) {
        fail_msg("mho %s: not one line that starts with \"mho: \": %s", b->args[0], err);
    }
    mem_free(out);
    mem_free(err);
}

/* A file with plain English of 4 kB; its path stays valid. */
static const char *plain_text(void) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/plain.txt", scratch_directory());
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 64; i++) {
        fprintf(f, "Day %02d: the cat sat by the door, and a small bird sang in the tree.\n", i);
    }
    fclose(f);
    return path;
}

static void check_all(const struct bad *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        check_bad(&rows[i]);
    }
}

#define CHECK_ALL(rows) check_all(rows, sizeof(rows) / sizeof((rows)[0]))

static void test_wrong_words(void **state) {
    (void)state;
    static const struct bad rows[] = {
        {{"rum"}, 2, {"rum", "run"}},
        {{"xyzzyq"}, 2, {"unknown subcommand"}},
        {{"run", "--promt", "x"}, 2, {"--promt", "--prompt"}},
        {{"run", "--tokens"}, 2, {"--tokens", "needs a value"}},
        {{"run", "--tokens", "0"}, 2, {"--tokens 0", "allowed"}},
        {{"run", "--tokens", "12x"}, 2, {"12x", "whole number"}},
        {{"run", "--tokens", "-3"}, 2, {"-3"}},
        {{"run", "--tokens", "99999999999999999999"}, 2, {"--tokens"}},
        {{"run", "--tokens", "5", "--tokens", "6"}, 2, {"--tokens", "twice"}},
        {{"run", "--temperature", "nan"}, 2, {"--temperature nan"}},
        {{"run", "--temperature", "hot"}, 2, {"hot", "number"}},
        {{"run", "--top-p", "1.5"}, 2, {"--top-p", "allowed"}},
        {{"run", "--json=yes"}, 2, {"--json", "no value"}},
        {{"run", "-x"}, 2, {"-x", "options start with --"}},
        {{"run", "surplus"}, 2, {"surplus"}},
        {{"run", "--age", "yesterday"}, 2, {"--age", "yesterday"}},
        {{"run", "--age", "-5"}, 2, {"-5"}},
        {{"run", "--age", "101y"}, 2, {"age", "time model", "allowed"}},
        {{"run", "--model", "no-such-model", "--age", "101y"}, 2, {"time model"}}, /* before anything is loaded */
        {{"run", "--threads", "0"}, 2, {"--threads 0"}},
        {{"run", "--kernel", "abacus"}, 2, {"abacus", "ref"}},
        {{"adapt", "fit", "--gemm", "mkl"}, 2, {"--gemm mkl", "openblas, plain"}},
        {{"adapt", "train", "--redundancy", "0.1"}, 2, {"--redundancy", "--validate-every, --gemm)"}},
        {{"run", "--seed", "-1"}, 2, {"--seed -1"}},
        {{"run", "--bos", "maybe"}, 2, {"maybe", "on, off"}},
        {{"run", "--compare", "--chip", "none"}, 2, {"--compare", "digital"}},
        {{"run", "--chat-format", "chatml"}, 2, {"--chat-format", "--chat"}},
        {{"run", "--chip", "none", "--set", "tile.rows=8"}, 2, {"--set", "none"}},
        {{"eval"}, 2, {"perplexity | choice | logits"}},
        {{"eval", "perplexty"}, 2, {"did you mean perplexity"}},
        {{"eval", "perplexity"}, 2, {"--text"}},
        {{"eval", "logits"}, 2, {"--ids"}},
        {{"--seed", "3"}, 2, {"--seed", "after the subcommand"}},
        {{"eval", "logits", "--ids", "1", "--seeds", "3"}, 2, {"--seeds", "eval logits", "--hidden"}},
        {{"eval", "perplexity", "--text", "x", "--top", "3"}, 2, {"--top", "eval perplexity"}},
        {{"chip", "list", "--set", "tile.rows=8"}, 2, {"--set", "chip list"}},
        {{"chip", "show", "afm", "--chip", "ideal"}, 2, {"--chip", "chip show NAME"}},
        {{"device", "list", "--samples", "9"}, 2, {"--samples", "device list"}},
        {{"tokenize", "--text-file", ""}, 1, {"name is empty"}},
        {{"eval", "logits", "--ids", "1,,2"}, 2, {"1,,2"}},
        {{"eval", "logits", "--ids", "1,x"}, 2, {"x", "token id"}},
        {{"eval", "logits", "--ids", "999999999"}, 2, {"999999999"}},
        {{"eval", "logits", "--ids", "1", "--top", "99999999"}, 2, {"--top"}},
        {{"chip", "shw"}, 2, {"show"}},
        {{"chip", "show", "pcm25"}, 2, {"pcm256"}},
        {{"device"}, 2, {"usage: mho device list | stats CELL | fit DATA.csv", "mho device --help"}},
        {{"device", "stat"}, 2, {"device stat", "did you mean stats?"}},
        {{"chip"}, 2, {"usage: mho chip list | show [NAME]", "mho chip --help"}},
        {{"device", "stats"}, 2, {"which cell"}},
        {{"device", "stats", "pcm_lik"}, 2, {"pcm_like"}},
        {{"device", "stats", "pcm_like", "--g", "1.5"}, 2, {"1.5", "allowed"}},
        {{"device", "stats", "pcm_like", "--time", "1fortnight"}, 2, {"fortnight"}},
        {{"map", "--chip", "none"}, 2, {"--chip none"}},
        {{"tokenize"}, 2, {"--text"}},
        {{"tokenize", "--text", "a", "--ids", "1"}, 2, {"one of"}},
        {{"tokenize", "--ids", "123456789"}, 2, {"123456789", "vocabulary"}},
    };
    CHECK_ALL(rows);
}

static void test_wrong_models(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    char missing[1200], empty[1200], text[1200];
    snprintf(missing, sizeof missing, "%s/nothing.gguf", folder);
    snprintf(empty, sizeof empty, "%s/empty.gguf", folder);
    snprintf(text, sizeof text, "%s/text.gguf", folder);
    fclose(fopen(empty, "w"));
    FILE *f = fopen(text, "w");
    fputs("this is no model, it only says that it is one by its name; long enough for a header", f);
    fclose(f);
    const struct bad rows[] = {
        {{"run", "--model", "storys"}, 2, {"storys", "stories"}},
        {{"run", "--model", missing}, 2, {"nothing.gguf"}},
        {{"run", "--model", empty}, 1, {"empty.gguf", "empty"}},
        {{"run", "--model", text}, 1, {"text.gguf"}},
        {{"run", "--model", folder}, 1, {"config.json"}},
        {{"map", "--model", text}, 1, {"text.gguf"}},
        {{"tokenize", "--model", text, "--text", "x"}, 1, {"text.gguf"}},
        {{"eval", "perplexity", "--text", missing}, 1, {"nothing.gguf"}},
        {{"run", "--prompt-file", missing}, 1, {"nothing.gguf"}},
    };
    CHECK_ALL(rows);
}

static void test_wrong_prompts(void **state) {
    (void)state;
    static char long_prompt[20000];
    memset(long_prompt, 'x', sizeof long_prompt - 1);
    for (size_t i = 1; i < sizeof long_prompt - 1; i += 2) {
        long_prompt[i] = ' ';
    }
    const struct bad rows[] = {
        {{"run", "--prompt", "caf\xe9 au lait"}, 2, {"--prompt", "byte 3", "UTF-8"}},
        {{"run", "--prompt", long_prompt}, 2, {"longer than the context", "allowed"}},
        {{"run", "--prompt", "", "--bos", "off"}, 2, {"--prompt", "empty", "BOS"}},
        {{"run", "--prompt", "a", "--prompt-file", "b"}, 2, {"--prompt-file", "one"}},
        {{"run", "--chat", "--prompt", "a"}, 2, {"chat template", "--chat-format"}},
        {{"run", "--chat", "--chat-format", "chatlm", "--prompt", "a"}, 2, {"chatlm", "chatml"}},
        {{"run", "--context", "100000"}, 2, {"--context", "allowed"}},
        {{"eval", "perplexity", "--text", mho_path()}, 2, {mho_path(), "byte", "UTF-8"}},
        {{"eval", "perplexity", "--text", ""}, 2, {"--text"}},
        {{"eval", "perplexity", "--text", scratch_directory()}, 1, {"folder"}},
        {{"eval", "perplexity", "--text", "/dev/null"}, 1, {"too short"}},
        {{"eval", "perplexity", "--text", plain_text(), "--window", "100000"}, 2, {"--window", "allowed"}},
    };
    CHECK_ALL(rows);
}

/* Writes a chip file and runs `chip check` on it. */
static void check_chip_file(const char *text, int status, const char *says, const char *says_too) {
    static char path[1200];
    snprintf(path, sizeof path, "%s/bad.yaml", scratch_directory());
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    struct bad b = {{"chip", "check", path}, status, {says, says_too}};
    check_bad(&b);
}

static void test_wrong_chips(void **state) {
    (void)state;
    check_chip_file("include: pcm256.yaml\nchip: x\n", 2, "bad.yaml:1", "pcm256.yaml");
    check_chip_file("chip: [unclosed\n", 2, "bad.yaml", NULL);
    check_chip_file("chip: x\nchip: y\n", 2, "bad.yaml:2", "chip");
    check_chip_file("", 2, "bad.yaml", NULL);
    check_chip_file("chip: x\n", 2, "bad.yaml:1", "missing");
    static const struct bad rows[] = {
        {{"run", "--chip", "pcm265"}, 2, {"pcm265", "pcm256"}},
        {{"chip", "show", "pcm256", "--set", "tile.adc.bit=6"}, 2, {"tile.adc.bit", "tile.adc.bits"}},
        {{"chip", "show", "pcm256", "--set", "tile.adc.bits=40"}, 2, {"tile.adc.bits", "allowed"}},
        {{"chip", "show", "pcm256", "--set", "tile.adc.bits=six"}, 2, {"six"}},
        {{"chip", "show", "pcm256", "--set", "tile.cell=pcm_lik"}, 2, {"pcm_lik", "pcm_like"}},
        {{"chip", "show", "pcm256", "--set", "effects.heat=on"}, 2, {"effects.heat"}},
        {{"chip", "show", "pcm256", "--set", "effects.drift=perhaps"}, 2, {"perhaps"}},
        {{"chip", "show", "pcm256", "--set", "nonsense"}, 2, {"nonsense"}},
        {{"chip", "show", "pcm256", "--set", "tile.adc.energy_pJ=3"},
         2,
         {"unit is part of the key", "tile.adc.energy_J"}},
        {{"map", "--set", "replicate=off", "--set", "tiles_per_chip=1"}, 2, {"tiles"}},
    };
    CHECK_ALL(rows);
}

static void test_wrong_outputs(void **state) {
    (void)state;
    char through_file[1200];
    snprintf(through_file, sizeof through_file, "%s/file", scratch_directory());
    fclose(fopen(through_file, "w"));
    strcat(through_file, "/sub");
    const struct bad rows[] = {{{"run", "--tokens", "2", "--out", through_file, "--json"}, 1, {"/file", "exists"}}};
    CHECK_ALL(rows);
}

/* A full disk on stdout is an error, and says so. */
static void test_full_output(void **state) {
    (void)state;
    if (access("/dev/full", W_OK) != 0) {
        skip_because("no /dev/full here");
    }
    char command[2048];
    snprintf(command, sizeof command, "%s chip list > /dev/full 2>/dev/null", mho_path());
    int status = system(command);
    assert_int_equal(WEXITSTATUS(status), 1);
}

static void test_closed_pipe(void **state) {
    (void)state;
    char command[2048];
    snprintf(command, sizeof command, "bash -c '%s chip params 2>/dev/null | true; exit ${PIPESTATUS[0]}'", mho_path());
    int status = system(command);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) <= 1);
}

/* Exit status of a shell command that runs in `folder` and calls the program $mho. */
static int shell(const char *command, const char *folder) {
    char absolute[4096], line[8192];
    assert_non_null(realpath(mho_path(), absolute));
    snprintf(line, sizeof line, "mho='%s'; cd '%s' && %s", absolute, folder, command);
    int status = system(line);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* A disk that fills up while report.json is written: an error, and the earlier report stands, alone. */
static void test_full_disk(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    assert_int_equal(shell("mkdir out && echo earlier > out/report.json", folder), 0);
    assert_int_equal(shell("(ulimit -f 4; $mho run --tokens 2 --quiet --out out > text 2> error)", folder), 1);
    assert_int_equal(shell("grep -q report.json error && test $(wc -l < error) = 1", folder), 0);
    assert_int_equal(shell("test \"$(ls -A out)\" = report.json && grep -q earlier out/report.json", folder), 0);
}

/* A folder that cannot take a report is refused before anything is computed. */
static void test_out_is_checked_first(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    assert_int_equal(shell("mkdir -p out/report.json", folder), 0);
    assert_int_equal(shell("$mho run --tokens 2 --quiet --out out > text 2> error", folder), 1);
    assert_int_equal(shell("grep -q 'report.json: cannot write: is a folder' error && test ! -s text", folder), 0);
}

/* Output that has nowhere to go: one line says so, also for the overview; and no file of ours takes its place. */
static void test_closed_output(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    static const char *const commands[] = {"$mho", "$mho --version", "$mho run --help",
                                           "$mho run --tokens 2 --quiet --out out"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char command[256];
        snprintf(command, sizeof command, "(%s >&- 2> error)", commands[i]);
        assert_int_equal(shell(command, folder), 1);
        assert_int_equal(shell("grep -q 'mho: standard output: ' error && test $(wc -l < error) = 1", folder), 0);
    }
    assert_int_equal(shell("head -c 1 out/report.json | grep -q '{'", folder), 0);
}

/* How a program ended that got SIGINT. */
struct ending { int status; double processor_s; char message[256]; };

/* Until the program closes its end, which it does by ending: 60 s at most. */
static void read_all(int from, pid_t child, char *message, size_t room) {
    double end_s = now_s() + 60;
    size_t used = 0;
    for (;;) {
        struct pollfd p = {.fd = from, .events = POLLIN};
        if (poll(&p, 1, (int)fmax(0, 1000 * (end_s - now_s()))) <= 0) {
            kill(child, SIGKILL);
            fail_msg("SIGINT did not end it within a minute");
        }
        ssize_t n = read(from, message + used, room - 1 - used);
        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    message[used] = '\0';
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

static struct ending signal_after(const char *const *args, useconds_t after_us) {
    struct ending e = {0};
    struct rusage use;
    int pipe_err[2];
    assert_int_equal(pipe(pipe_err), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(pipe_err[1], STDERR_FILENO);
        close(pipe_err[0]);
        freopen("/dev/null", "w", stdout);
        execv(mho_path(), (char *const *)(uintptr_t)args);
        _exit(127);
    }
    close(pipe_err[1]);
    usleep(after_us);
    kill(child, SIGINT);
    read_all(pipe_err[0], child, e.message, sizeof e.message);
    wait4(child, &e.status, 0, &use);
    close(pipe_err[0]);
    e.processor_s = seconds_of(use.ru_utime) + seconds_of(use.ru_stime);
    return e;
}

/* Ctrl-C: status 1 soon after, one line, no file. On a busy machine a program may not have begun when the signal comes,
 * and dies of it without a word: then it gets twice the time. What it may do after the signal is counted in processor
 * time, which does not depend on others either: 5 s, beside what all processors can do before. */
static void interrupt(const char *const *args, useconds_t after_us) {
    enum { TRIES = 6 };
    struct ending e = signal_after(args, after_us);
    for (int i = 1; i < TRIES && WIFSIGNALED(e.status) && WTERMSIG(e.status) == SIGINT && !e.message[0]; i++) {
        after_us *= 2;
        e = signal_after(args, after_us);
    }
    assert_true(WIFEXITED(e.status));
    assert_int_equal(WEXITSTATUS(e.status), 1);
    assert_string_equal(e.message, "mho: interrupted\n");
    assert_true(e.processor_s < 5 + 1e-6 * (double)after_us * (double)sysconf(_SC_NPROCESSORS_ONLN));
}

static void write_table(const char *path, int lines, int columns) {
    FILE *f = fopen(path, "w");
    for (int i = 0; i < lines; i++) {
        for (int k = 0; k < columns; k++) {
            fprintf(f, "%s0.%03d", k ? "," : "", (i * 7919 + k * 104729) % 997 + 1);
        }
        fputs("\n", f);
    }
    fclose(f);
}

/* The same with much to do for `mho tile` and `mho device fit`. */
static void test_interrupt_long_files(void **state) {
    (void)state;
    char weights[1200], inputs[1200], data[1200], part[1200];
    const char *folder = scratch_directory();
    snprintf(weights, sizeof weights, "%s/W.csv", folder);
    snprintf(inputs, sizeof inputs, "%s/X.csv", folder);
    snprintf(data, sizeof data, "%s/lab.csv", folder);
    snprintf(part, sizeof part, "%s/part.yaml", folder);
    write_table(weights, 96, 96);
    write_table(inputs, 8000, 96);
    FILE *f = fopen(data, "w");
    fputs("device,target_uS,time_s,g_uS\n", f);
    for (int i = 0; i < 400000; i++) {
        static const double times_s[] = {0, 10, 100, 1000}, kept[] = {1, 0.95, 0.9, 0.8};
        int device = i / 4, target = 1 + device % 5;
        fprintf(f, "%d,%d,%g,%.5f\n", device, target, times_s[i % 4], target * kept[i % 4] + 0.001 * (i % 97));
    }
    fclose(f);
    const char *const trace[] = {"mho", "tile", "--weights", weights, "--inputs", inputs, NULL};
    const char *const network[] = {"mho",    "tile",    "--weights", weights,        "--inputs",
                                   inputs,   "--exact", "--chip",    "pcm256_wires", NULL};
    const char *const fit[] = {"mho", "device", "fit", data, "--out", part, NULL};
    interrupt(trace, 300000);
    interrupt(network, 1000000);
    interrupt(fit, 300000);
    assert_false(file_exists(part));
}

static void test_interrupt(void **state) {
    (void)state;
    const char *text = plain_text(), *folder = scratch_directory();
    const char *const eval[] = {"mho", "eval", "perplexity", "--text", text, "--seeds", "1000", NULL};
    const char *const stats[] = {"mho", "device", "stats", "pcm_like", "--samples", "100000000", NULL};
    const char *const bench[] = {"mho", "bench", "--repetitions", "1000", NULL};
    const char *const run[] = {"mho",      "run", "--tokens", "500",  "--bos", "off",
                               "--kernel", "ref", "--out",    folder, NULL};
    char large[1200];
    snprintf(large, sizeof large, "%s/large.txt", scratch_directory());
    FILE *f = fopen(large, "w");
    for (int i = 0; i < 600000; i++) {
        fputs("a cat sat by the door, and a bird sang\n", f);
    }
    fclose(f);
    const char *const tokenize[] = {"mho", "tokenize", "--text-file", large, NULL};
    interrupt(tokenize, 500000);
    interrupt(eval, 700000);
    interrupt(stats, 300000);
    interrupt(bench, 300000);
    interrupt(run, 150000);
    assert_int_equal(rmdir(folder), 0); /* empty */
}

/* ---- promises -------------------------------------------------------------------------------------------- */

/* Dotted keys that must be there. */
static void assert_keys(const json_t *root, const char *const *keys) {
    for (; *keys; keys++) {
        char path[128];
        snprintf(path, sizeof path, "%s", *keys);
        const json_t *at = root;
        for (char *word = strtok(path, "."); word; word = strtok(NULL, ".")) {
            at = json_object_get(at, word);
            if (!at) {
                fail_msg("no key %s", *keys);
            }
        }
    }
}

static void test_json_keys(void **state) {
    (void)state;
    static const char *const run_args[] = {"run", "--tokens", "4", "--compare", "--json", NULL};
    static const char *const run_keys[] = {"mho",
                                           "command",
                                           "seed",
                                           "config_hash",
                                           "config",
                                           "host.wall_s",
                                           "host.threads",
                                           "host.peak_rss_bytes",
                                           "host.kernel",
                                           "host.tokens_per_s",
                                           "text",
                                           "ids",
                                           "prompt_tokens",
                                           "generated_tokens",
                                           "latency.ttft_s",
                                           "latency.tpot_s",
                                           "latency.total_s",
                                           "energy.total_J",
                                           "energy.per_token_J",
                                           "energy.by_component",
                                           "energy.by_layer",
                                           "area.total_mm2",
                                           "area.by_component",
                                           "mapping.tiles",
                                           "mapping.chips",
                                           "mapping.utilisation",
                                           "divergence.first_different_token",
                                           "divergence.top1_agreement",
                                           "divergence.kl_nats",
                                           NULL};
    json_t *root = mho_json(run_args);
    assert_keys(root, run_keys);
    assert_int_equal(json_integer_value(json_object_get(root, "generated_tokens")), 4);
    assert_int_equal(json_array_size(json_object_get(root, "ids")), 4);
    json_decref(root);

    const char *const eval_args[] = {"eval", "perplexity", "--text", plain_text(), "--limit",
                                     "1000", "--seeds",    "2",      "--json",     NULL};
    static const char *const eval_keys[] = {"tokens",
                                            "bytes",
                                            "digital.nll_nats",
                                            "digital.perplexity",
                                            "digital.bits_per_byte",
                                            "analog.perplexity_mean",
                                            "analog.perplexity_sd",
                                            "analog.nll_nats_mean",
                                            "analog.runs",
                                            NULL};
    root = mho_json(eval_args);
    assert_keys(root, eval_keys);
    assert_int_equal(json_array_size(json_object_get(json_object_get(root, "analog"), "runs")), 2);
    json_decref(root);

    static const char *const map_args[] = {"map", "--json", NULL};
    static const char *const map_keys[] = {"tiles", "chips", "utilisation", "cells", "matrices", NULL};
    root = mho_json(map_args);
    assert_keys(root, map_keys);
    json_decref(root);

    static const char *const stats_args[] = {"device", "stats",     "pcm_like", "--g",    "0,1", "--time",
                                             "0,1h",   "--samples", "1000",     "--json", NULL};
    root = mho_json(stats_args);
    json_t *rows = json_object_get(root, "rows");
    assert_int_equal(json_array_size(rows), 4);
    static const char *const stats_keys[] = {"g_target_uS",
                                             "time_s",
                                             "g_mean_uS",
                                             "g_sd_uS",
                                             "g_programmed_mean_uS",
                                             "g_programmed_sd_uS",
                                             "drift_exponent_mean",
                                             "drift_exponent_sd",
                                             "samples",
                                             NULL};
    assert_keys(json_array_get(rows, 0), stats_keys);
    json_decref(root);

    static const char *const logits_args[] = {"eval", "logits",   "--ids",  "1,2,3", "--top",
                                              "3",    "--hidden", "--json", NULL};
    static const char *const logits_keys[] = {"ids", "top", "hidden", NULL};
    root = mho_json(logits_args);
    assert_keys(root, logits_keys);
    assert_int_equal(json_array_size(json_object_get(root, "top")), 3);
    json_decref(root);

    static const char *const tokenize_args[] = {"tokenize", "--text", "Once upon a time", "--json", NULL};
    static const char *const tokenize_keys[] = {"ids", "pieces", NULL};
    root = mho_json(tokenize_args);
    assert_keys(root, tokenize_keys);
    json_decref(root);
}

/* The document without its host object, as text. */
static char *comparable(const char *const *args) {
    json_t *root = mho_json(args);
    json_object_del(root, "host");
    char *text = json_dumps(root, JSON_REAL_PRECISION(17) | JSON_SORT_KEYS);
    json_decref(root);
    return text;
}

static void test_threads_give_same_bytes(void **state) {
    (void)state;
    const char *args[] = {"run", "--tokens", "12",        "--age", "1d", "--temperature",
                          "0.8", "--json",   "--threads", "1",     NULL};
    char *one = comparable(args);
    static const char *const others[] = {"2", "7"};
    for (int i = 0; i < 2; i++) {
        args[9] = others[i];
        char *other = comparable(args);
        assert_string_equal(one, other);
        free(other);
    }
    args[9] = "2";
    args[4] = "1month";
    char *later = comparable(args);
    assert_string_not_equal(one, later); /* the comparison can see a difference */
    free(later);
    free(one);
}

/* The configuration that a run prints, fed back, gives the same run. */
static void test_effective_config_replays(void **state) {
    (void)state;
    const char *args[] = {"run",   "--tokens",          "6",      "--set", "tile.adc.bits=7",
                          "--set", "effects.drift=off", "--json", NULL};
    json_t *first = mho_json(args);
    char path[1200];
    snprintf(path, sizeof path, "%s/config.yaml", scratch_directory());
    assert_int_equal(json_dump_file(json_object_get(first, "config"), path, JSON_REAL_PRECISION(17)), 0);
    json_decref(first);
    const char *again[] = {"run", "--tokens", "6", "--chip", path, "--json", NULL};
    char *a = comparable(args);
    char *b = comparable(again);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

static void test_help(void **state) {
    (void)state;
    static const char *const commands[] = {"run", "eval", "map", "chip", "device", "tokenize", "bench"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const char *args[] = {commands[i], "--help", NULL};
        char *out, *err;
        assert_int_equal(run_mho(args, 20, &out, &err), 0);
        assert_non_null(strstr(out, "usage: mho"));
        assert_non_null(strstr(out, "--json"));
        assert_string_equal(err, "");
        mem_free(out);
        mem_free(err);
    }
    const char *none[] = {NULL};
    char *out;
    assert_int_equal(run_mho(none, 20, &out, NULL), 0);
    size_t lines = 0;
    for (const char *p = out; *p; p++) {
        lines += *p == '\n';
    }
    assert_true(lines > 10 && lines <= 35); /* explains itself in a screen */
    mem_free(out);
}

/* Every word of adapt shows its own options, in its own words. */
static void test_help_of_words(void **state) {
    static const struct { const char *word, *has, *has_not; } all[] = {
        {"generate", "\n  --part I/N", "--lr"},  {"fit", "\n  --digital X", "--lr"},
        {"train", "\n  --lr X", "--top-k"},      {"export", "\n  --format NAME", "--chip"},
        {"compare", "\n  --text TEXT", "--lr"},   {"text", "\n  --data FILE", "--lr"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const char *args[] = {"adapt", all[i].word, "--help", NULL};
        char *out, *err;
        assert_int_equal(run_mho(args, 20, &out, &err), 0);
        assert_string_equal(err, "");
        bool fine = strstr(out, all[i].has) && strstr(out, "\n  --json") && !strstr(out, all[i].has_not) &&
                    strstr(out, "\n  --out PATH") && !strstr(out, "run: ") && !strstr(out, "adapt train: ") &&
                    !strstr(out, "eval") && strstr(out, "\nexample");
        if (!fine) {
            fail_msg("mho adapt %s --help: %s", all[i].word, out);
        }
        mem_free(out);
        mem_free(err);
    }
}

static void test_text_and_report(void **state) {
    (void)state;
    const char *args[] = {"run", "--tokens", "8", "--prompt", "One day", NULL};
    char *out, *err;
    assert_int_equal(run_mho(args, 60, &out, &err), 0);
    assert_non_null(strstr(out, "mm2"));
    assert_non_null(strstr(out, "J"));
    assert_null(strchr(err, '\r')); /* no progress bar on a pipe */
    mem_free(out);
    mem_free(err);
    const char *digital[] = {"run", "--tokens", "8", "--chip", "none", "--quiet", NULL};
    assert_int_equal(run_mho(digital, 60, &out, &err), 0);
    assert_string_equal(err, "");
    assert_null(strstr(out, "mm2"));
    mem_free(out);
    mem_free(err);
}

/* Refresh that no device survives is flagged; without refresh nothing is said; refresh that takes longer than its
 * period is refused. */
static void test_refresh_wears_out(void **state) {
    (void)state;
    const char *often[] = {"run", "--tokens", "1", "--age", "1month", "--set", "tile.refresh_period_s=10", NULL};
    const char *fast[] = {"run", "--tokens", "1", "--set", "tile.refresh_period_s=0.1", NULL};
    const char *never[] = {"run", "--tokens", "1", "--age", "1month", NULL};
    char *out;
    assert_int_equal(run_mho(often, 60, &out, NULL), 0);
    assert_non_null(strstr(out, "2.592e+05 times"));
    assert_non_null(strstr(out, "programmings wear the devices out"));
    mem_free(out);
    char *err;
    assert_int_equal(run_mho(fast, 60, NULL, &err), 2);
    assert_non_null(strstr(err, "tile.refresh_period_s: 0.1 s, but programming a tile takes "));
    mem_free(err);
    assert_int_equal(run_mho(never, 60, &out, NULL), 0);
    assert_null(strstr(out, " times"));
    assert_null(strstr(out, "\n! "));
    mem_free(out);
}

/* Ages on a chip where nothing ages: the same numbers, and a remark that says so; else others, and none. A list of one
 * age needs no remark. */
static void test_ages_without_drift(void **state) {
    (void)state;
    static const struct {
        const char *chip, *set, *ages;
        bool same, told;
    } cases[] = {
        {"afm", "effects.faults=off", "0,1d", true, true},
        {"afm", "effects.faults=off", "1d", true, false},
        {"afm", "tile.refresh_period_s=3600", "0,1d", false, false},
        {"pcm256", "effects.drift=off", "0,1d", false, false}, /* read noise */
    };
    const char *text = plain_text();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *out, *err;
        const char *const args[] = {"eval", "perplexity", "--text", text, "--limit", "24", "--chip", cases[i].chip,
                                    "--set", cases[i].set, "--age", cases[i].ages, "--json", NULL};
        assert_int_equal(run_mho(args, 60, &out, &err), 0);
        json_t *j = json_loads(out, 0, NULL), *ages = json_object_get(json_object_get(j, "analog"), "by_age");
        json_t *first = json_object_get(json_array_get(ages, 0), "nll_nats_mean");
        json_t *last = json_object_get(json_array_get(ages, json_array_size(ages) - 1), "nll_nats_mean");
        assert_true(json_is_real(first));
        assert_int_equal(json_equal(first, last), cases[i].same);
        assert_int_equal(strstr(err, "nothing on this chip ages") != NULL, cases[i].told);
        json_decref(j);
        mem_free(out);
        mem_free(err);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_wrong_words),
    cmocka_unit_test(test_wrong_models),
    cmocka_unit_test(test_wrong_prompts),
    cmocka_unit_test(test_wrong_chips),
    cmocka_unit_test(test_wrong_outputs),
    cmocka_unit_test(test_full_output),
    cmocka_unit_test(test_closed_pipe),
    cmocka_unit_test(test_full_disk),
    cmocka_unit_test(test_out_is_checked_first),
    cmocka_unit_test(test_closed_output),
    cmocka_unit_test(test_interrupt),
    cmocka_unit_test(test_interrupt_long_files),
    cmocka_unit_test(test_json_keys),
    cmocka_unit_test(test_threads_give_same_bytes),
    cmocka_unit_test(test_effective_config_replays),
    cmocka_unit_test(test_help),
    cmocka_unit_test(test_help_of_words),
    cmocka_unit_test(test_text_and_report),
    cmocka_unit_test(test_refresh_wears_out),
    cmocka_unit_test(test_ages_without_drift),
};
const struct test_suite suite_cli = {"cli", tests, sizeof tests / sizeof tests[0]};
