#include "helper-report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int status_fd = STDERR_FILENO;

void report_to(int fd) { status_fd = fd; }

static void write_line(const char *prefix, const char *code, const char *format, va_list arguments) {
  char line[1024];
  int at = snprintf(line, sizeof line, "sluice-helper: %s%s%s", prefix, code, *code ? ": " : "");
  vsnprintf(line + at, sizeof line - at - 1, format, arguments);
  /* A path may hold a newline; a report is one line. */
  for (char *c = line; *c; c++)
    if (*c == '\n') *c = ' ';
  strcat(line, "\n");
  if (write(status_fd, line, strlen(line)) < 0 && status_fd != STDERR_FILENO) {
    /* Whoever was to read it is gone; standard error may still have a reader. */
    if (write(STDERR_FILENO, line, strlen(line)) < 0) return;
  }
}

void fail(const char *code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_line("", code, format, arguments);
  va_end(arguments);
  exit(strcmp(code, "usage") == 0 ? 2 : 1);
}

void fail_with(int status, const char *code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_line("", code, format, arguments);
  va_end(arguments);
  exit(status);
}

void note(const char *code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_line("note: ", code, format, arguments);
  va_end(arguments);
}

void report(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_line("", "", format, arguments);
  va_end(arguments);
}
