/* Data for adaptation: many sequences in one session against one by one, the data file, its writer under kill -9,
 * hostile files, text. The model is the bundled one. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "models/adapt/data.h"
#include "tests/golden.h"

enum { PATH_ROOM = 1200 };

static struct model *stories(void) { return open_model("stories"); }

/* ---- many sequences in one session ----------------------------------------------------------------------------- */

enum { LONGEST = 48, COMPANY = 5 };

/* Rounding: sums of up to 384 terms in another order, six layers; logits of size 10 and more. Measured: 2e-5. */
static const double LOGITS_TOLERANCE = 2e-4;

/* Sequences of different lengths, joining and leaving, have the logits that they have alone, within rounding. */
static void sequences_are_as_one_by_one(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    uint32_t V = model_shape(m)->vocabulary;
    struct session *many = new_session(m, (struct session_options){.context = LONGEST, .sequences = COMPANY});
    struct session *alone = new_session(m, (struct session_options){.context = LONGEST});
    static int32_t ids[COMPANY][LONGEST];
    uint32_t length[COMPANY] = {0};
    for (uint32_t s = 0; s < COMPANY; s++) {
        for (uint32_t p = 0; p < LONGEST; p++) {
            ids[s][p] = (int32_t)(random_uniform(s, random_stream(RANDOM_TEST, 30), p) * V);
        }
    }
    double worst = 0, largest = 0;
    size_t compared = 0;
    for (uint32_t step = 0; step < 50; step++) {
        struct decode_token tokens[COMPANY];
        uint32_t count = 0;
        for (uint32_t s = 0; s < COMPANY; s++) {
            uint32_t turn = COMPANY - 1 - s; /* not in the order of their numbers */
            if ((step + turn) % (turn + 2) != 0) {
                if (length[turn] == 10 * (turn + 1) - 2) {
                    session_restart(many, turn);
                    length[turn] = 0;
                }
                tokens[count++] = (struct decode_token){turn, ids[turn][length[turn]++]};
            }
        }
        if (count == 0) {
            continue;
        }
        const float *logits, *expected;
        must(session_decode(many, tokens, count, &logits, &e), &e);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t s = tokens[i].sequence;
            session_rewind(alone, 0);
            must(session_forward(alone, ids[s], length[s], LOGITS_LAST, &expected, &e), &e);
            for (uint32_t v = 0; v < V; v++) {
                worst = fmax(worst, fabs((double)logits[i * V + v] - expected[v]));
                largest = fmax(largest, fabs((double)expected[v]));
            }
            compared++;
        }
    }
    assert_true(compared > 100 && largest > 5);
    if (worst > LOGITS_TOLERANCE) {
        fail_msg("logits differ by %g", worst);
    }
    session_destroy(many);
    session_destroy(alone);
    model_close(m);
}

/* The logits of one sequence to the bit: alone in the session, and as the last of many with other lengths. */
static void company_changes_no_bit(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    uint32_t V = model_shape(m)->vocabulary;
    struct session *small = new_session(m, (struct session_options){.context = LONGEST, .sequences = 1});
    struct session *large = new_session(m, (struct session_options){.context = LONGEST, .sequences = 64});
    const float *a, *b;
    for (int32_t p = 0; p < LONGEST - 1; p++) {
        struct decode_token tokens[64], one = {0, 7 * p + 1};
        uint32_t count = 0;
        for (uint32_t s = 0; s < 63; s++) {
            if (p % 2 == 0 || s % 3 == 0) {
                tokens[count++] = (struct decode_token){s, (int32_t)s + 3};
            }
        }
        tokens[count++] = (struct decode_token){63, 7 * p + 1};
        threads_set(1 + p % 3);
        must(session_decode(small, &one, 1, &a, &e), &e);
        must(session_decode(large, tokens, count, &b, &e), &e);
        assert_memory_equal(a, b + (count - 1) * (size_t)V, V * sizeof *a);
    }
    threads_set(0);
    session_destroy(small);
    session_destroy(large);
    model_close(m);
}

static void wrong_calls_say_why(void **state) {
    (void)state;
    struct model *m = stories();
    struct session *s = new_session(m, (struct session_options){.context = 4, .sequences = 2});
    const float *logits;
    struct error e;
    int32_t id = 1;
    const struct { struct decode_token tokens[2]; uint32_t count; const char *says; } rows[] = {
        {{{0, 1}}, 0, "0 tokens"},
        {{{0, 1}, {1, 1}}, 3, "3 tokens for 2"},
        {{{2, 1}}, 1, "sequence 2 at index 0"},
        {{{0, 1}, {1, -1}}, 2, "id -1 at index 1"},
        {{{0, 1}, {1, 2048}}, 2, "id 2048"},
        {{{1, 1}, {1, 1}}, 2, "more than once"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(session_decode(s, rows[i].tokens, rows[i].count, &logits, &e), ERR_USAGE);
        assert_non_null(strstr(e.message, rows[i].says));
    }
    for (int i = 0; i < 4; i++) { /* the errors above took no position */
        must(session_decode(s, &(struct decode_token){1, 5}, 1, &logits, &e), &e);
    }
    assert_int_equal(session_decode(s, &(struct decode_token){1, 5}, 1, &logits, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "is full"));
    assert_int_equal(session_forward(s, &id, 1, LOGITS_LAST, &logits, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "session_decode"));
    session_destroy(s);
    model_close(m);
}

/* ---- generate -------------------------------------------------------------------------------------------------- */

static struct generate_options small_set(void) {
    return (struct generate_options){.tokens = 2000, .length = 24, .batch = 16, .temperature = 1, .top_k = 50,
                                     .split = 0.05, .seed = 5, .start = -1, .part = 1, .parts = 1};
}

static const char *file_in(const char *folder, const char *name) {
    static char paths[4][PATH_ROOM];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], PATH_ROOM, "%s/%s", folder, name);
    return paths[turn];
}

static struct generate_result generate(const struct model *m, const char *path, struct generate_options o) {
    struct generate_result r;
    struct error e;
    must(adapt_generate(m, path, &o, &r, &e), &e);
    return r;
}

static void assert_same_file(const char *a, const char *b) {
    char *x, *y;
    size_t nx, ny;
    struct error e;
    must(read_file(a, 1 << 24, &x, &nx, &e), &e);
    must(read_file(b, 1 << 24, &y, &ny, &e), &e);
    assert_int_equal(nx, ny);
    assert_memory_equal(x, y, nx);
    mem_free(x);
    mem_free(y);
}

static struct data *open_data(const char *const *paths, size_t count, const struct model *m, struct data_options o) {
    struct data *d = NULL;
    struct error e;
    must(data_open(paths, count, m, &o, &d, &e), &e);
    return d;
}

/* The text of the file against one-by-one decoding with the same arithmetic, all logits and the same random numbers. */
static void check_drawn_ids(struct generate_options o, uint64_t sequences) {
    struct model *m = stories();
    struct error e;
    const char *path = file_in(scratch_directory(), "a.mhodata");
    unlink(path);
    generate(m, path, o);
    struct data *d = open_data(&path, 1, m, (struct data_options){.length = 0});
    struct sampler *sampler;
    struct sampler_options so = {.temperature = o.temperature, .top_k = o.top_k, .top_p = 1, .repetition_penalty = 1,
                                 .seed = o.seed};
    must(sampler_create(&so, model_shape(m)->vocabulary, &sampler, &e), &e);
    const int32_t end = 1; /* of the bundled model */
    sampler_forbid(sampler, &end, 1);
    struct session *s = new_session(m, (struct session_options){.context = o.length, .sequences = 1,
                                                                .sixteen_bits = true});
    for (uint64_t k = 0; k < sequences; k++) {
        const int32_t *ids = data_sequence(d, DATA_TRAIN, k);
        assert_int_equal(ids[0], o.start < 0 ? model_bos(m) : o.start);
        session_restart(s, 0);
        sampler_set_request(sampler, k);
        for (uint32_t p = 1; p < o.length; p++) {
            const float *logits;
            must(session_decode(s, &(struct decode_token){0, ids[p - 1]}, 1, &logits, &e), &e);
            assert_int_equal(ids[p], sampler_next(sampler, logits, p, NULL, 0));
            assert_false(model_is_end(m, ids[p]));
        }
    }
    session_destroy(s);
    sampler_destroy(sampler);
    data_close(d);
    model_close(m);
}

/* Among the likeliest, also where the end of the text is one of them; among all, at another temperature and from
 * another start. */
static void ids_are_those_of_one_by_one_decoding(void **state) {
    (void)state;
    struct generate_options o = small_set();
    check_drawn_ids(o, 40);
    o.tokens = 4 * 256; /* long enough for the end of a text to be likely */
    o.length = 256;
    o.top_k = 3;
    check_drawn_ids(o, 3);
    o.tokens = 10 * 24;
    o.length = 24;
    o.top_k = 0;
    o.temperature = 0.7;
    o.start = 300;
    check_drawn_ids(o, 9);
}

static void bytes_do_not_depend_on_batch_or_threads(void **state) {
    (void)state;
    struct model *m = stories();
    const char *folder = scratch_directory();
    char reference[PATH_ROOM], other[PATH_ROOM], name[32];
    snprintf(reference, sizeof reference, "%s/reference", folder);
    struct generate_options o = small_set();
    o.tokens = 700;
    generate(m, reference, o);
    const struct { int threads; uint32_t batch; } rows[] = {{1, 1}, {2, 3}, {7, 64}, {1, 64}, {7, 3}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        o.batch = rows[i].batch;
        threads_set(rows[i].threads);
        snprintf(name, sizeof name, "other%zu", i);
        snprintf(other, sizeof other, "%s/%s", folder, name);
        generate(m, other, o);
        assert_same_file(reference, other);
    }
    threads_set(0);
    o.seed = 6;
    const char *paths[] = {reference, file_in(folder, "seed")};
    generate(m, paths[1], o);
    struct data *d[2];
    for (int i = 0; i < 2; i++) {
        d[i] = open_data(&paths[i], 1, m, (struct data_options){.length = 24});
    }
    assert_true(data_hash(d[0]) != data_hash(d[1]));
    assert_true(data_is_of_model(d[0], m));
    data_close(d[0]);
    data_close(d[1]);
    model_close(m);
}

/* Parts in any order hold what the whole holds, with the same split. */
static void parts_make_the_whole(void **state) {
    (void)state;
    struct model *m = stories();
    const char *folder = scratch_directory();
    char paths[4][PATH_ROOM];
    for (uint32_t i = 0; i < 4; i++) {
        struct generate_options o = small_set();
        o.tokens = 85 * 24; /* parts of 29, 28 and 28 */
        o.part = i ? i : 1;
        o.parts = i ? 3 : 1;
        snprintf(paths[i], PATH_ROOM, "%s/part%u", folder, i);
        generate(m, paths[i], o);
    }
    const char *list[] = {paths[1], paths[2], paths[3]}, *whole_path = paths[0], *twice[] = {paths[2], paths[0]};
    struct data *whole = open_data(&whole_path, 1, m, (struct data_options){.length = 0});
    struct data *parts = open_data(list, 3, m, (struct data_options){.length = 0});
    assert_int_equal(data_length(parts), 24);
    assert_int_equal(data_count(whole, DATA_TRAIN), 81); /* 85 sequences, 5 % */
    assert_int_equal(data_count(whole, DATA_VALIDATION), 4);
    for (enum data_part p = DATA_TRAIN; p < DATA_PARTS; p++) {
        assert_int_equal(data_count(parts, p), data_count(whole, p));
        for (uint64_t k = 0; k < data_count(whole, p); k++) {
            assert_memory_equal(data_sequence(parts, p, k), data_sequence(whole, p, k), 24 * sizeof(int32_t));
        }
    }
    struct data *none;
    struct error e;
    assert_int_equal(data_open(twice, 2, m, &(struct data_options){.length = 0}, &none, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "same sequences"));
    data_close(whole);
    data_close(parts);
    model_close(m);
}

/* Files of a list: sets of other settings are other sequences, and all have one length. */
static void files_of_a_list_fit_together(void **state) {
    static const struct { const char *name; uint64_t seed; int top_k; uint32_t length; } sets[] = {
        {"seed5", 5, 50, 24}, {"seed6", 6, 50, 24}, {"top9", 6, 9, 24}, {"short", 5, 50, 20}};
    (void)state;
    struct model *m = stories();
    const char *folder = scratch_directory(), *paths[4];
    for (size_t i = 0; i < 4; i++) {
        struct generate_options o = small_set();
        o.tokens = 5 * 24;
        o.split = 0;
        o.seed = sets[i].seed;
        o.top_k = sets[i].top_k;
        o.length = sets[i].length;
        paths[i] = file_in(folder, sets[i].name);
        generate(m, paths[i], o);
    }
    struct data *d = open_data(paths, 3, m, (struct data_options){.length = 24}), *none = NULL;
    struct error e;
    assert_int_equal(data_count(d, DATA_TRAIN), 15);
    data_close(d);
    assert_int_equal(data_open(paths + 2, 2, m, &(struct data_options){.length = 0}, &none, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "short: sequences of 20 ids, and 24 are wanted"));
    assert_int_equal(data_open(paths, 1, m, &(struct data_options){.length = 16}, &none, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "sequences of 24 ids, and 16 are wanted"));
    model_close(m);
}

/* ---- runs that end early --------------------------------------------------------------------------------------- */

static const char *const GENERATE[] = {"adapt", "generate", "--tokens", "4000", "--length", "24", "--batch", "8",
                                       "--seed", "3", "--quiet", "--out"};
enum { WORDS = sizeof GENERATE / sizeof GENERATE[0] };

static pid_t start_generate(const char *path) {
    const char *argv[WORDS + 3] = {mho_path()};
    memcpy(argv + 1, GENERATE, sizeof GENERATE);
    argv[WORDS + 1] = path;
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stdout);
        freopen("/dev/null", "w", stderr);
        execv(mho_path(), (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return child;
}

static void run_to_the_end(const char *path) {
    const char *args[WORDS + 2] = {NULL};
    memcpy(args, GENERATE, sizeof GENERATE);
    args[WORDS] = path;
    char *err;
    int status = run_mho(args, 60, NULL, &err);
    if (status != 0) {
        fail_msg("status %d: %s", status, err);
    }
    mem_free(err);
}

/* Kills at random moments until one run has ended by itself, and from the start again: 20 kills in all, that caught a
 * run at work. */
static void killed_runs_go_on(void **state) {
    (void)state;
    const char *folder = scratch_directory();
    char whole[PATH_ROOM], killed[PATH_ROOM], partial[PATH_ROOM + 16];
    snprintf(whole, sizeof whole, "%s/whole", folder);
    snprintf(killed, sizeof killed, "%s/killed", folder);
    snprintf(partial, sizeof partial, "%s.partial", killed);
    double start_s = now_s();
    run_to_the_end(whole);
    double whole_s = now_s() - start_s;
    size_t kills = 0, went_on = 0;
    for (uint64_t round = 0; kills < 20 && round < 200; round++) {
        went_on += file_exists(partial);
        pid_t child = start_generate(killed);
        double wait_s = 0.35 * whole_s * random_uniform(1, random_stream(RANDOM_TEST, 31), round);
        usleep((useconds_t)(1e6 * wait_s));
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        kills += WIFSIGNALED(status);
        if (file_exists(killed)) {
            assert_same_file(whole, killed);
            unlink(killed);
        }
    }
    assert_int_equal(kills, 20);
    assert_in_range(went_on, 5, 200);
    run_to_the_end(killed);
    assert_same_file(whole, killed);
    assert_false(file_exists(partial));
    snprintf(partial, sizeof partial, "%s.journal", killed);
    assert_false(file_exists(partial));
}

static void write_all(const char *path, const void *bytes, size_t count) {
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    fclose(f);
}

/* What a power cut leaves behind: zeros where ids should be, a journal ahead of them, half a header. */
static void damaged_partial_files_are_mended(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    const char *folder = scratch_directory();
    char whole[PATH_ROOM], path[PATH_ROOM], partial[PATH_ROOM + 16], journal[PATH_ROOM + 16];
    snprintf(whole, sizeof whole, "%s/whole", folder);
    snprintf(path, sizeof path, "%s/mended", folder);
    snprintf(partial, sizeof partial, "%s.partial", path);
    snprintf(journal, sizeof journal, "%s.journal", path);
    struct generate_options o = small_set();
    generate(m, whole, o);
    char *bytes;
    size_t count, offset;
    struct data_header h;
    must(read_file(whole, 1 << 24, &bytes, &count, &e), &e);
    must(data_header_read((const uint8_t *)bytes, count, whole, &h, &offset, &e), &e);
    /* A writer makes the journal of the first 50 sequences. */
    struct data_writer *w;
    must(data_writer_open(path, &h, &w, &e), &e);
    for (int k = 0; k < 50; k++) {
        must(data_writer_add(w, (const int32_t *)(const void *)(bytes + offset) + k * 24, &e), &e);
    }
    data_writer_close(w);
    const struct { size_t bytes, zero_from; uint64_t drawn; } rows[] = {
        {offset + 50 * 96, offset + 50 * 96, 84 - 50},
        {offset + 50 * 96, offset + 30 * 96 + 5, 84 - 30},
        {offset + 20 * 96 + 11, offset + 20 * 96, 84 - 20},
        {offset - 7, offset, 84},
        {0, 0, 84},
    };
    char *journal_bytes;
    size_t journal_count;
    must(read_file(journal, 1 << 20, &journal_bytes, &journal_count, &e), &e);
    assert_int_equal(journal_count, 50 * 17);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *damaged = mem_alloc(offset + 50 * 96, 1);
        memcpy(damaged, bytes, rows[i].zero_from < rows[i].bytes ? rows[i].zero_from : rows[i].bytes);
        write_all(partial, damaged, rows[i].bytes);
        write_all(journal, journal_bytes, journal_count);
        assert_int_equal(generate(m, path, o).drawn, rows[i].drawn);
        assert_same_file(whole, path);
        unlink(path);
        mem_free(damaged);
    }
    mem_free(journal_bytes);
    mem_free(bytes);
    model_close(m);
}

static void other_settings_are_refused(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    struct generate_result r;
    const char *path = file_in(scratch_directory(), "kept");
    struct generate_options o = small_set();
    generate(m, path, o);
    assert_int_equal(generate(m, path, o).drawn, 0); /* complete: left as it is */
    o.seed = 77;
    assert_int_equal(adapt_generate(m, path, &o, &r, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "seed 5, now 77"));
    char partial[PATH_ROOM];
    snprintf(partial, sizeof partial, "%s/other.partial", scratch_directory());
    rename(path, partial);
    *strrchr(partial, '.') = 0;
    assert_int_equal(adapt_generate(m, partial, &o, &r, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "seed 5, now 77"));
    model_close(m);
}

/* A file that may not grow, as on a full disk: the error says what is kept, and the run goes on later. */
static void full_disk_keeps_what_is_there(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    struct generate_result r;
    const char *folder = scratch_directory(), *path = file_in(folder, "full"), *whole = file_in(folder, "whole");
    struct generate_options o = small_set();
    generate(m, whole, o);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4000;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    enum status status = adapt_generate(m, path, &o, &r, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, ERR_RUN);
    assert_non_null(strstr(e.message, "full.partial: cannot write"));
    assert_non_null(strstr(e.message, "of 84 sequences are kept"));
    r = generate(m, path, o);
    assert_in_range(r.drawn, 40, 70);
    assert_same_file(whole, path);
    model_close(m);
}

/* ---- hostile files --------------------------------------------------------------------------------------------- */

static void refused(const struct model *m, const char *path, const char *says) {
    struct data *d = NULL;
    struct error e;
    enum status status = data_open(&path, 1, m, &(struct data_options){.length = 0}, &d, &e);
    if (status == OK || !strstr(e.message, says)) {
        fail_msg("status %d, \"%s\" is not in: %s", status, says, status == OK ? "" : e.message);
    }
    assert_null(d);
}

/* Puts `to` where `from` stands in the header, in as many bytes. */
static void change(char *bytes, size_t room, const char *from, const char *to) {
    assert_int_equal(strlen(from), strlen(to));
    for (size_t i = 0; i + strlen(from) <= room; i++) {
        if (memcmp(bytes + i, from, strlen(from)) == 0) {
            memcpy(bytes + i, to, strlen(to));
            return;
        }
    }
    fail_msg("%s is not in the header", from);
}

static void hostile_files_are_refused(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    const char *folder = scratch_directory(), *path = file_in(folder, "good.mhodata");
    char bad[PATH_ROOM];
    snprintf(bad, sizeof bad, "%s/bad.mhodata", folder);
    generate(m, path, small_set());
    char *good;
    size_t count, offset;
    struct data_header h;
    must(read_file(path, 1 << 24, &good, &count, &e), &e);
    must(data_header_read((const uint8_t *)good, count, path, &h, &offset, &e), &e);
    const struct { const char *from, *to, *says; } keys[] = {
        {"\"length\":24", "\"length\":25", "the header says"},
        {"\"count\":84", "\"count\":83", "the header says"},
        {"\"count\":84", "\"count\":99", "the set has"},
        {"\"count\":84", "\"count\":-1", "count = -1"},
        {"\"first\":0", "\"first\":9", "the set has"},
        {"\"seed\":5", "\"sead\":5", "no key seed"},
        {"\"validation\":4", "\"validation\":[", "bad.mhodata"},
        {"\"vocabulary\":2048", "\"vocabulary\":2049", "vocabulary of 2049"},
        {"\"vocabulary\":2048", "\"vocabulary\":0002", "bad.mhodata"},
        {"\"vocabulary\":2048", "\"vocabulary\":   9", "outside the vocabulary"},
        {"\"tokenizer_hash\":\"", "\"tokenizer_hash\":7", "bad.mhodata"},
        {"\"split\":0.05", "\"split\":5.05", "split = 5.0"},
        {"\"kernels\":\"", "\"kernels\":\n", "bad.mhodata"},
    };
    char *bytes = mem_alloc(count + 1, 1);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        memcpy(bytes, good, count);
        change(bytes, offset, keys[i].from, keys[i].to);
        write_all(bad, bytes, count);
        refused(m, bad, keys[i].says);
    }
    const struct { size_t at; uint32_t value; const char *says; } words[] = {
        {0, 0x6f686d20, "does not begin"},   {8, 0x04030201, "big endian"},     {8, 7, "no byte order"},
        {12, 2, "version 2"},                {16, 1, "a header of 1 bytes"},    {16, 0xffffffe8, "a header of"},
        {20, 1, "a header of"},              {offset, 2048, "id 2048 is outside"},
        {offset + 100, 0x80000000, "id -2147483648"},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        memcpy(bytes, good, count);
        memcpy(bytes + words[i].at, &words[i].value, sizeof words[i].value);
        write_all(bad, bytes, count);
        refused(m, bad, words[i].says);
    }
    memcpy(bytes, good, count);
    for (size_t cut = 1; cut < offset + 8; cut += 1 + cut / 16) {
        write_all(bad, bytes, cut);
        refused(m, bad, "bad.mhodata");
    }
    write_all(bad, bytes, count - 1);
    refused(m, bad, "cut off");
    write_all(bad, bytes, count + 1);
    refused(m, bad, "something stands behind");
    write_all(bad, bytes, 0);
    refused(m, bad, "empty");
    mem_free(bytes);
    mem_free(good);
    model_close(m);
}

static void another_tokenizer_is_refused(void **state) {
    (void)state;
    const char *other_path = shared_path("models/stories260K");
    struct model *m = stories(), *other = open_model(other_path);
    const char *path = file_in(scratch_directory(), "other.mhodata");
    generate(other, path, small_set());
    refused(m, path, "another tokenizer");
    struct data *d = open_data(&path, 1, other, (struct data_options){.length = 24});
    data_close(d);
    model_close(other);
    model_close(m);
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

static void text_is_data_too(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    const char *path = file_in(scratch_directory(), "story.txt");
    char text[64 * 70] = "";
    for (int i = 0; i < 64; i++) {
        snprintf(text + strlen(text), 70, "Day %02d: the cat sat by the door, and a small bird sang.\n", i);
    }
    write_all(path, text, strlen(text));
    struct token_list tokens = {NULL, 0, 0};
    must(tokenizer_encode(model_tokenizer(m), text, strlen(text), false, false, &tokens, &e), &e);
    struct data *d = open_data(&path, 1, m, (struct data_options){.length = 20, .split = 0.1});
    uint64_t all = tokens.count / 19, validation = (all + 5) / 10;
    assert_int_equal(data_count(d, DATA_VALIDATION), validation);
    assert_int_equal(data_count(d, DATA_TRAIN), all - validation);
    assert_false(data_is_of_model(d, m));
    for (uint64_t k = 0; k < all; k++) {
        bool train = k < all - validation;
        const int32_t *ids = data_sequence(d, train ? DATA_TRAIN : DATA_VALIDATION, train ? k : k - (all - validation));
        assert_int_equal(ids[0], model_bos(m));
        assert_memory_equal(ids + 1, tokens.ids + k * 19, 19 * sizeof *ids);
    }
    uint64_t hash = data_hash(d);
    data_close(d);
    d = open_data(&path, 1, m, (struct data_options){.length = 20, .split = 0.2});
    assert_true(data_hash(d) != hash); /* a run that trains on other parts of it does not go on */
    data_close(d);
    token_list_clear(&tokens);
    write_all(path, "too short", 9);
    refused(m, path, "too short");
    write_all(path, "caf\xe9 au lait", 12);
    refused(m, path, "byte 3");
    model_close(m);
}

/* ---- documents ------------------------------------------------------------------------------------------------- */

/* Start id, text, end; a start id that a document cut off does not foretell stands as its complement. */
static void documents_are_kept_apart(void **state) {
    (void)state;
    struct model *m = stories();
    struct error e;
    const char *path = file_in(scratch_directory(), "two.jsonl");
    const char *lines = "{\"text\": \"The cat sat.\\n\\nIt slept.\", \"url\": \"a\"}\n"
                        "{\"text\": \"A bird\", \"complete\": false}\n{\"text\": \"sang.\", \"complete\": true}";
    const char *const texts[3] = {"The cat sat.\n\nIt slept.", "A bird", "sang."};
    const int32_t bos = model_bos(m), end = 1; /* of the bundled model */
    const int32_t starts[3] = {bos, bos, ~bos};
    struct token_list wanted = {NULL, 0, 0};
    for (int i = 0; i < 3; i++) {
        must(token_list_add(&wanted, starts[i], &e), &e);
        must(tokenizer_encode(model_tokenizer(m), texts[i], strlen(texts[i]), false, false, &wanted, &e), &e);
        if (i != 1) {
            must(token_list_add(&wanted, end, &e), &e);
        }
    }
    write_all(path, lines, strlen(lines));
    struct data *d = open_data(&path, 1, m, (struct data_options){.length = (uint32_t)wanted.count});
    assert_int_equal(data_count(d, DATA_TRAIN), 1);
    assert_memory_equal(data_sequence(d, DATA_TRAIN, 0), wanted.ids, wanted.count * sizeof *wanted.ids);
    assert_int_equal(data_id(~bos), bos);
    assert_int_equal(data_id(end), end);
    data_close(d);
    token_list_clear(&wanted);
    model_close(m);
}

static void damaged_documents_are_refused(void **state) {
    static const struct { const char *lines, *says; } bad[] = {
        {"{\"text\": \"a\"}\n{\"test\": \"b\"}\n", "line 2: no text"},
        {"{\"text\": \"a\"}\n{\"text\": 5}\n", "line 2: no text"},
        {"{\"text\": \"a\", \"complete\": 1}\n", "line 1: complete"},
        {"{\"text\": \"a\n\"}\n", "line 1"},
        {"{\"text\": \"a\"}\n\n", "line 2"},
        {"\"text\"", "line 1"},
    };
    (void)state;
    struct model *m = stories();
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s", file_in(scratch_directory(), "bad.jsonl"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_all(path, bad[i].lines, strlen(bad[i].lines));
        refused(m, path, bad[i].says);
    }
    model_close(m);
}

/* Three sequences, the first with two start ids in it, one behind the other, the second with an end of text. */
static void put_documents(const char *path) {
    char *bytes;
    size_t count, offset;
    struct data_header h;
    struct error e;
    must(read_file(path, 1 << 24, &bytes, &count, &e), &e);
    must(data_header_read((const uint8_t *)bytes, count, path, &h, &offset, &e), &e);
    int32_t *ids = (int32_t *)(void *)(bytes + offset);
    ids[10] = ids[11] = h.start;
    ids[24 + 5] = 1; /* end of text of the bundled model */
    write_all(path, bytes, count);
    mem_free(bytes);
}

static void check_document(const struct model *m, const char *line, const int32_t *ids, size_t count, bool complete) {
    json_t *o = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
    struct error e;
    char *text;
    size_t bytes;
    must(tokenizer_decode(model_tokenizer(m), ids, count, true, &text, &bytes, &e), &e);
    assert_string_equal(json_string_value(json_object_get(o, "text")), text);
    assert_true(json_is_true(json_object_get(o, "complete")) == complete);
    mem_free(text);
    json_decref(o);
}

/* Ids become lines, those for validation too, and lines are read again. */
static void ids_become_documents(void **state) {
    static const struct { uint64_t sequence; uint32_t first, end; bool complete; } documents[] = {
        {0, 1, 10, true}, {0, 12, 24, false}, {1, 1, 5, true}, {1, 6, 24, false}, {2, 1, 24, false}};
    enum { DOCUMENTS = sizeof documents / sizeof documents[0] };
    (void)state;
    struct model *m = stories();
    struct error e;
    const char *path = file_in(scratch_directory(), "own.mhodata"), *text = file_in(scratch_directory(), "own.jsonl");
    struct documents_result r;
    struct generate_options o = small_set();
    o.tokens = 3 * 24;
    o.split = 0.3;
    generate(m, path, o);
    put_documents(path);
    struct data *d = open_data(&path, 1, m, (struct data_options){0});
    assert_int_equal(data_count(d, DATA_VALIDATION), 1);
    must(adapt_text(m, d, text, &r, &e), &e);
    assert_int_equal(r.documents, DOCUMENTS);
    assert_int_equal(r.complete, 2);
    char *lines, *line;
    size_t bytes;
    must(read_file(text, 1 << 24, &lines, &bytes, &e), &e);
    line = lines;
    for (size_t i = 0; i < DOCUMENTS; i++) {
        const int32_t *ids = documents[i].sequence < 2 ? data_sequence(d, DATA_TRAIN, documents[i].sequence)
                                                       : data_sequence(d, DATA_VALIDATION, 0);
        check_document(m, line, ids + documents[i].first, documents[i].end - documents[i].first,
                       documents[i].complete);
        line = strchr(line, '\n') + 1;
    }
    assert_int_equal(*line, 0);
    mem_free(lines);
    data_close(d);
    d = open_data(&text, 1, m, (struct data_options){.length = 16});
    assert_int_equal(data_sequence(d, DATA_TRAIN, 0)[0], model_bos(m));
    assert_int_equal(adapt_text(m, d, path, &r, &e), ERR_USAGE); /* not drawn from the model */
    data_close(d);
    model_close(m);
}

static void validation_is_counted_as_documented(void **state) {
    (void)state;
    assert_int_equal(data_validation_count(1000, 0.01), 10);
    assert_int_equal(data_validation_count(149, 0.01), 1);
    assert_int_equal(data_validation_count(151, 0.01), 2);
    assert_int_equal(data_validation_count(10, 0.01), 1);
    assert_int_equal(data_validation_count(10, 0), 0);
    assert_int_equal(data_validation_count(1, 0.5), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sequences_are_as_one_by_one),
    cmocka_unit_test(company_changes_no_bit),
    cmocka_unit_test(wrong_calls_say_why),
    cmocka_unit_test(ids_are_those_of_one_by_one_decoding),
    cmocka_unit_test(bytes_do_not_depend_on_batch_or_threads),
    cmocka_unit_test(parts_make_the_whole),
    cmocka_unit_test(files_of_a_list_fit_together),
    cmocka_unit_test(killed_runs_go_on),
    cmocka_unit_test(damaged_partial_files_are_mended),
    cmocka_unit_test(other_settings_are_refused),
    cmocka_unit_test(full_disk_keeps_what_is_there),
    cmocka_unit_test(hostile_files_are_refused),
    cmocka_unit_test(another_tokenizer_is_refused),
    cmocka_unit_test(text_is_data_too),
    cmocka_unit_test(documents_are_kept_apart),
    cmocka_unit_test(damaged_documents_are_refused),
    cmocka_unit_test(ids_become_documents),
    cmocka_unit_test(validation_is_counted_as_documented),
};

const struct test_suite suite_adapt_data = {"adapt_data", tests, sizeof tests / sizeof tests[0]};
