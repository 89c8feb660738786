/*
 * sluice-launcher: what a program of another name does before Node could have started. It lies in a directory with files
 * that were made of the tables in src/names; which words there are and what they mean is in them, nothing is decided here.
 *
 *   program        three lines: the paths of node, of sluice's script, and of its helper program
 *   NAME.help      what --help prints
 *   NAME.version   what --version prints
 *   view           what a process in a view of its own sees, a line each: "read /etc", "execute /usr", "device /dev/null"
 *   NAME.words     a line per kind of word: "help -h --help", "version --version", "stay -f" (do not go to the
 *                  background), "setup -c" (the TAP is set up, which is not done here), "sandbox --enable-sandbox" (in that view,
 *                  where no rights are needed any more), "value -m --mtu" (takes a value), "flag -q"; "place --api-socket" takes a
 *                  value in whose directory a file is made; "net --netns", "user --userns", "tap -I" take one that names a TAP, as
 *                  does "positional net tap" of words that are no options;
 *                  "background" alone: go there unless told to stay; "command" alone: the first word that is no option and
 *                  no number, and what follows it, are a command, to be run without going there; so is no such word at all
 *                  without a "net"
 *
 * NAME is the last part of argv[0]. A question is answered; everything else, a word that no line has first of all, becomes
 * `node SCRIPT as NAME WORDS`, in the background with this process waiting for it: what it says goes to standard error
 * here, and the line it writes to the descriptor of SLUICE_STARTER (src/cli/background-starter.ts) ends this with status 0.
 * Where the words name a TAP it is opened first, and SLUICE_TAP says where.
 */
#include "launcher-tap.h"
#include "launcher-view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_OCTETS = 4096, WORDS_OCTETS = 16384, TEXT_OCTETS = 65536 };

/* Where src/cli/as-name.ts finds the descriptor of a TAP that is open. */
static const char TAP_NOTE[] = "SLUICE_TAP";

static const char *name;
static char directory[PATH_OCTETS];

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, "%s: ", name);
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  va_end(values);
  exit(1);
}

/* Where this program's file is: links to it may be anywhere. */
static void find_directory(void) {
  ssize_t length = readlink("/proc/self/exe", directory, sizeof directory - 1);
  if (length <= 0) fail("/proc/self/exe: %s", strerror(errno));
  directory[length] = '\0';
  *strrchr(directory, '/') = '\0';
}

/* Reads a file beside this program, whole. False when it is not there or too long. */
static bool read_file(const char *file, const char *suffix, char *text, size_t size) {
  char path[PATH_OCTETS + 256];
  snprintf(path, sizeof path, "%s/%s%s", directory, file, suffix);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  size_t length = 0;
  ssize_t got = 1;
  while (got > 0 && length < size - 1) {
    got = read(fd, text + length, size - 1 - length);
    if (got > 0) length += (size_t)got;
  }
  close(fd);
  text[length] = '\0';
  return got == 0;
}

/* --- words ----------------------------------------------------------------------------------------------------- */

enum kind { UNKNOWN, FLAG, HELP, VERSION, STAY, SETUP, SANDBOX, VALUE, PLACE, NET, USER, TAP };

static const struct {
  const char *word;
  enum kind kind;
} KINDS[] = {{"flag", FLAG}, {"help", HELP}, {"version", VERSION}, {"stay", STAY}, {"setup", SETUP},
             {"sandbox", SANDBOX}, {"value", VALUE}, {"place", PLACE}, {"net", NET}, {"user", USER}, {"tap", TAP}};

/* The kind of the word of `length` octets, from the lines of NAME.words. */
static enum kind kind_of(const char *lines, const char *word, size_t length) {
  enum kind kind = UNKNOWN;
  for (const char *at = lines; *at != '\0';) {
    bool is_first = at == lines || at[-1] == '\n';
    size_t token = strcspn(at, " \n");
    if (is_first) {
      kind = UNKNOWN;
      for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strlen(KINDS[i].word) == token && memcmp(at, KINDS[i].word, token) == 0) kind = KINDS[i].kind;
    } else if (token == length && memcmp(at, word, length) == 0) {
      return kind;
    }
    at += token;
    if (*at != '\0') at++;
  }
  return UNKNOWN;
}

static bool has_line(const char *lines, const char *line) {
  size_t length = strlen(line);
  for (const char *at = lines; (at = strstr(at, line)) != NULL; at += length)
    if ((at == lines || at[-1] == '\n') && (at[length] == '\n' || at[length] == '\0')) return true;
  return false;
}

struct asked {
  /* A word was not known: the rest says nothing. */
  bool unknown;
  /* HELP, VERSION or 0; and whether a word says that this process stays. */
  enum kind question;
  bool stay;
  /* The TAP is to be set up: where it is there it has to be so already. */
  bool setup;
  /* It is to run in a view of its own, with the directory of this file in it, or NULL. */
  bool sandbox;
  const char *place;
  struct tap_words names;
};

static void note_flag(struct asked *asked, enum kind kind) {
  if (kind == STAY) asked->stay = true;
  else if (kind == SETUP) asked->setup = true;
  else if (kind == SANDBOX) asked->sandbox = true;
  else if (kind != FLAG && asked->question == UNKNOWN) asked->question = kind;
}

static void note_value(struct asked *asked, enum kind kind, const char *value) {
  if (kind == PLACE) asked->place = value;
  if (kind == NET) asked->names.net = value;
  if (kind == USER) asked->names.user = value;
  if (kind == TAP) asked->names.tap = value;
}

/* Letters behind one dash. Returns whether the next word is a value, of kind `*kind`. */
static bool look_at_letters(const char *lines, const char *word, struct asked *asked, enum kind *kind) {
  for (size_t i = 1; word[i] != '\0'; i++) {
    char form[3] = {'-', word[i], '\0'};
    *kind = kind_of(lines, form, 2);
    if (*kind == UNKNOWN) asked->unknown = true;
    if (*kind < VALUE) {
      note_flag(asked, *kind);
      continue;
    }
    if (word[i + 1] != '\0') note_value(asked, *kind, word + i + 1);
    return word[i + 1] == '\0';
  }
  return false;
}

/* The same of a long word. */
static bool look_at_long(const char *lines, const char *word, struct asked *asked, enum kind *kind) {
  size_t length = strcspn(word, "=");
  bool inlined = word[length] == '=';
  *kind = kind_of(lines, word, length);
  if (*kind == UNKNOWN || (*kind < VALUE && inlined)) asked->unknown = true;
  if (*kind < VALUE) note_flag(asked, *kind);
  else if (inlined) note_value(asked, *kind, word + length + 1);
  return *kind >= VALUE && !inlined;
}

static bool is_number(const char *word) {
  return *word != '\0' && word[strspn(word, "0123456789")] == '\0';
}

/* A word that is no option, the first being number 0: the line "positional" says what each is. */
static void note_positional(const char *lines, struct asked *asked, size_t number, const char *word) {
  const char *at = strstr(lines, "positional ");
  for (size_t i = 0; at != NULL && i <= number; i++) {
    at += strcspn(at, " \n");
    if (*at != ' ') return;
    at++;
  }
  if (at != NULL) note_value(asked, strncmp(at, "net", 3) == 0 ? NET : TAP, word);
}

/* What the words ask for, up to the first that is not known: whoever knows more sees them all. */
static struct asked look_at_words(const char *lines, char **words) {
  struct asked asked = {.question = UNKNOWN};
  enum kind kind = UNKNOWN;
  bool is_value = false, is_over = false, takes_command = has_line(lines, "command");
  for (size_t positional = 0; *words != NULL && !asked.unknown; words++) {
    const char *word = *words;
    if (is_value) {
      note_value(&asked, kind, word);
      is_value = false;
    } else if (is_over || word[0] != '-' || word[1] == '\0') {
      if (takes_command && !is_number(word)) break;
      note_positional(lines, &asked, positional++, word);
    } else if (strcmp(word, "--") == 0) {
      is_over = true;
    } else {
      is_value = (word[1] == '-' ? look_at_long : look_at_letters)(lines, word, &asked, &kind);
    }
  }
  if (asked.unknown) asked.question = UNKNOWN;
  if (takes_command && asked.names.net == NULL) asked.stay = true;
  return asked;
}

/* --- what follows ---------------------------------------------------------------------------------------------- */

static void answer(const char *suffix) {
  static char text[TEXT_OCTETS];
  if (!read_file(name, suffix, text, sizeof text)) fail("%s/%s%s: %s", directory, name, suffix, strerror(errno));
  size_t length = strlen(text);
  for (size_t at = 0; at < length;) {
    ssize_t sent = write(STDOUT_FILENO, text + at, length - at);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) exit(errno == EPIPE ? 0 : 1);
    at += (size_t)sent;
  }
}

enum { NODE, SCRIPT, HELPER, PROGRAMS };
static char *programs[PROGRAMS];

static void read_programs(void) {
  static char lines[PROGRAMS * PATH_OCTETS];
  if (!read_file("program", "", lines, sizeof lines)) fail("%s/program: %s", directory, strerror(errno));
  char *at = lines;
  for (int i = 0; i < PROGRAMS; i++) {
    programs[i] = at;
    at += strcspn(at, "\n");
    if (*at == '\0') fail("%s/program: %d lines are needed", directory, PROGRAMS);
    *at++ = '\0';
  }
}

static void enter_view(const struct asked *asked, char **command) {
  static char lines[WORDS_OCTETS];
  if (!asked->sandbox || getenv(TAP_NOTE) == NULL || geteuid() == 0) return;
  if (read_file("view", "", lines, sizeof lines)) become_in_view(programs[HELPER], lines, asked->place, command);
}

/* What makes Node read a file at its start, which costs 80 ms, goes under the name where src/cli/sluice.cjs looks for it. */
static void hold_certificates(void) {
  static const char held[] = "SLUICE_NODE_EXTRA_CA_CERTS";
  const char *certificates = getenv(held + strlen("SLUICE_"));
  if (certificates == NULL || setenv(held, certificates, 1) != 0) return;
  unsetenv(held + strlen("SLUICE_"));
}

/* Becomes sluice. */
__attribute__((noreturn)) static void become(const struct asked *asked, char **argv, int argc) {
  char **command = calloc((size_t)argc + 4, sizeof *command);
  if (command == NULL) fail("%s", strerror(errno));
  char as[] = "as";
  char *head[] = {programs[NODE], programs[SCRIPT], as, (char *)name};
  memcpy(command, head, sizeof head);
  memcpy(command + 4, argv + 1, (size_t)(argc - 1) * sizeof *command);
  hold_certificates();
  enter_view(asked, command);
  execv(programs[NODE], command);
  fail("%s: %s; \"sluice names install\" notes where it is", programs[NODE], strerror(errno));
}

static pid_t child = 0;

static void pass_signal(int number) {
  if (child > 0) kill(child, number);
}

static const int PASSED[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

/* What was ignored at the start (nohup) stays so. An exec sets the others back. */
static void pass(int number) {
  struct sigaction action = {.sa_handler = pass_signal}, before;
  if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(number, &action, NULL);
}

/* Copies what the child says. False at the end of it. */
static bool relay(int from) {
  char octets[4096];
  ssize_t got = read(from, octets, sizeof octets);
  if (got <= 0) return got < 0 && (errno == EINTR || errno == EAGAIN);
  for (ssize_t at = 0; at < got;) {
    ssize_t sent = write(STDERR_FILENO, octets + at, (size_t)(got - at));
    if (sent < 0 && errno != EINTR) break;
    if (sent > 0) at += sent;
  }
  return true;
}

/* Waits for the line that says that the child serves, or for its end. Returns the exit status. */
static int wait_for_service(int ready, int said) {
  bool saying = true;
  for (;;) {
    struct pollfd fds[] = {{ready, POLLIN, 0}, {saying ? said : -1, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      fail("poll: %s", strerror(errno));
    }
    if (fds[1].revents != 0) saying = relay(said);
    if (fds[0].revents == 0) continue;
    char octets[512];
    ssize_t got = read(ready, octets, sizeof octets);
    if (got < 0 && errno == EINTR) continue;
    if (got > 0 && memchr(octets, '\n', (size_t)got) == NULL) continue;
    fcntl(said, F_SETFL, O_NONBLOCK);
    if (got > 0) {
      /* What was said before is there; anything later is not for the caller. */
      char rest[4096];
      for (ssize_t more; saying && (more = read(said, rest, sizeof rest)) > 0;)
        if (write(STDERR_FILENO, rest, (size_t)more) < 0) break;
      return 0;
    }
    int status = 0;
    fcntl(said, F_SETFL, 0);
    while (saying && relay(said));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) return WEXITSTATUS(status);
    if (WIFSIGNALED(status)) fprintf(stderr, "%s: ended by signal %d before it served\n", name, WTERMSIG(status));
    return 1;
  }
}

/* Nothing that the service does not need: descriptors that were given are words' business and stay. */
static void go_apart(int ready, int said) {
  setsid();
  int null = open("/dev/null", O_RDWR);
  if (null < 0) fail("/dev/null: %s", strerror(errno));
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
  dup2(said, STDERR_FILENO);
  if (null > STDERR_FILENO) close(null);
  if (said > STDERR_FILENO) close(said);
  char number[16];
  snprintf(number, sizeof number, "%d", ready);
  setenv("SLUICE_STARTER", number, 1);
}

/* Beyond the numbers that words name: these are few and low. */
static void high_pipe(int ends[2]) {
  enum { BEYOND = 64 };
  if (pipe(ends) < 0) fail("pipe: %s", strerror(errno));
  for (int i = 0; i < 2; i++) {
    int high = fcntl(ends[i], F_DUPFD, BEYOND);
    if (high < 0) fail("pipe: %s", strerror(errno));
    close(ends[i]);
    ends[i] = high;
  }
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
}

static void open_tap(const struct asked *asked) {
  if (asked->unknown || asked->setup || asked->names.net == NULL || asked->names.tap == NULL) return;
  int fd = open_tap_early(programs[HELPER], &asked->names);
  if (fd < 0) return;
  char number[16];
  snprintf(number, sizeof number, "%d", fd);
  setenv(TAP_NOTE, number, 1);
}

static int serve_apart(const struct asked *asked, char **argv, int argc) {
  int ready[2], said[2];
  high_pipe(ready);
  high_pipe(said);
  child = fork();
  if (child < 0) fail("fork: %s", strerror(errno));
  if (child == 0) {
    close(ready[0]);
    close(said[0]);
    go_apart(ready[1], said[1]);
    become(asked, argv, argc);
  }
  /* Not before: a signal in between ends this process, and the child sees that its starter gave up. */
  for (size_t i = 0; i < sizeof PASSED / sizeof *PASSED; i++) pass(PASSED[i]);
  close(ready[1]);
  close(said[1]);
  return wait_for_service(ready[0], said[0]);
}

int main(int argc, char **argv) {
  static char lines[WORDS_OCTETS];
  if (argc < 1) return 1;
  name = strrchr(argv[0], '/') == NULL ? argv[0] : strrchr(argv[0], '/') + 1;
  find_directory();
  if (!read_file(name, ".words", lines, sizeof lines)) fail("sluice has no such name (%s)", directory);
  struct asked asked = look_at_words(lines, argv + 1);
  if (asked.question != UNKNOWN) {
    answer(asked.question == HELP ? ".help" : ".version");
    return 0;
  }
  read_programs();
  open_tap(&asked);
  if (has_line(lines, "background") && !asked.stay) return serve_apart(&asked, argv, argc);
  become(&asked, argv, argc);
}
