/* What the helper says, one line a report; helper.c tells their forms. */
#ifndef SLUICE_HELPER_REPORT_H
#define SLUICE_HELPER_REPORT_H

/* Where reports go from now on; standard error at first. */
void report_to(int fd);

/* The sentence is a printf format; `: %s` with strerror(errno) is the caller's. `fail` ends with 2 for the code
 * "usage", else with 1. */
__attribute__((noreturn, format(printf, 2, 3))) void fail(const char *code, const char *format, ...);
/* As fail, with a status of its own: the shell's 126 and 127. */
__attribute__((noreturn, format(printf, 3, 4))) void fail_with(int status, const char *code, const char *format, ...);
__attribute__((format(printf, 2, 3))) void note(const char *code, const char *format, ...);
__attribute__((format(printf, 1, 2))) void report(const char *format, ...);

#endif
