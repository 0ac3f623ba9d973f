/*
 * utf8.h - is a text UTF-8, and is it plain?
 *
 * What is written to JSON has to be; names of files may be anything. Surrogates,
 * overlong forms and what is beyond U+10FFFF are not UTF-8 (RFC 3629).
 */
#ifndef UTIL_UTF8_H
#define UTIL_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length of the character at text, 1 to 4, or 0 if there is none; 1 at its
 * end. */
size_t utf8_len(const char *text);
bool utf8_valid(const char *text);
/* In place, for a line that is read by people: control characters, U+0080 to
 * U+009F too, and bytes that are not UTF-8 become '?'. n: up to the 0. */
void utf8_plain(char *text, size_t n);
/* Bytes of the mark that some put in front of a text: 3 or 0. */
size_t utf8_bom(const char *text, size_t n);

#endif
