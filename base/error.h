/* Errors: one code, one message.
 *
 * Library functions return `enum status` and fill a caller-owned `struct error`. The codes are the
 * exit statuses of the program (0 done, 1 the run failed, 2 usage or configuration), so that only
 * tools/ needs to know about exit(). Message grammar: "where: what: why (allowed: ...)".
 */
#ifndef MHO_BASE_ERROR_H
#define MHO_BASE_ERROR_H

enum status {
    OK = 0,        /* done */
    ERR_RUN = 1,   /* the run failed: I/O, bad data, out of memory, interrupted */
    ERR_USAGE = 2, /* the caller asked for something that cannot be: usage or configuration */
};

enum { ERROR_MESSAGE_BYTES = 1024 };

struct error {
    enum status status;
    char message[ERROR_MESSAGE_BYTES]; /* always terminated; control characters of the input escaped */
};

/* Fills *e (may be NULL) and returns `s`, so that `return error_set(e, ERR_RUN, ...)` reads well.
 * Long messages are cut with "...". Bytes below 0x20 and invalid UTF-8 are written as \xNN. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
enum status error_set(struct error *e, enum status s, const char *format, ...);

/* Puts "prefix: " before the message of *e; returns its status. For adding where while unwinding. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
enum status error_prefix(struct error *e, const char *format, ...);

/* Returns from the calling function when `call` fails. */
#define TRY(call)                          \
    do {                                   \
        enum status try_status_ = (call);  \
        if (try_status_ != OK) {           \
            return try_status_;            \
        }                                  \
    } while (0)

/* The same for functions that clean up: jumps to `label` with `status` (a local) set. */
#define TRY_GOTO(status, call, label)      \
    do {                                   \
        (status) = (call);                 \
        if ((status) != OK) {              \
            goto label;                    \
        }                                  \
    } while (0)

#endif
