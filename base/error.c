/* See error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

/* Copies `text` with control bytes and invalid UTF-8 as \xNN; cuts with "..." when it does not fit. */
static void copy_printable(char *out, size_t room, const char *text) {
    size_t used = 0;
    while (*text) {
        utf8proc_int32_t point;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &point);
        char piece[8];
        if (length < 1 || (unsigned char)*text < 0x20 || *text == 0x7f) {
            length = 1;
            snprintf(piece, sizeof piece, "\\x%02x", (unsigned)(unsigned char)*text);
        } else {
            memcpy(piece, text, (size_t)length);
            piece[length] = 0;
        }
        size_t bytes = strlen(piece);
        if (used + bytes + 4 > room) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(out + used, piece, bytes);
        used += bytes;
        text += length;
    }
    out[used] = 0;
}

enum status error_set(struct error *e, enum status s, const char *format, ...) {
    if (e) {
        char raw[ERROR_MESSAGE_BYTES];
        va_list args;
        va_start(args, format);
        vsnprintf(raw, sizeof raw, format, args);
        va_end(args);
        e->status = s;
        copy_printable(e->message, sizeof e->message, raw);
    }
    return s;
}

enum status error_prefix(struct error *e, const char *format, ...) {
    if (!e) {
        return ERR_RUN;
    }
    char raw[2 * ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(raw, ERROR_MESSAGE_BYTES, format, args);
    va_end(args);
    size_t at = used < 0 ? 0 : used < ERROR_MESSAGE_BYTES ? (size_t)used : ERROR_MESSAGE_BYTES - 1;
    snprintf(raw + at, sizeof raw - at, ": %s", e->message);
    copy_printable(e->message, sizeof e->message, raw);
    return e->status;
}
