/*
 * The last wall, raised by the engine itself once everything it needs is loaded: a filter on system calls
 * (seccomp(2)), put on every thread at once (TSYNC), which nothing can take down again.
 *
 * A list of what is refused rather than of what is allowed: what V8 and libuv call differs by version and libc,
 * and a filter that breaks after an update is one that gets switched off. Refused is what the data path never
 * needs: starting programs, other processes' memory and descriptors, namespaces and mounts, keys, bpf, modules,
 * clocks, and the parts of the kernel where most of its own holes were. A refused call gives EPERM.
 *
 * Calls that are allowed whatever their arguments are cost next to nothing: since Linux 5.11 the kernel knows them
 * without running the filter.
 */
#include "shim.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef FILTER_ARCH

/* Numbers that older headers lack; from 424 on they are the same on both architectures. */
enum {
  NR_PIDFD_SEND_SIGNAL = 424, NR_IO_URING_SETUP = 425, NR_IO_URING_ENTER = 426, NR_IO_URING_REGISTER = 427,
  NR_OPEN_TREE = 428, NR_MOVE_MOUNT = 429, NR_FSOPEN = 430, NR_FSCONFIG = 431, NR_FSMOUNT = 432, NR_FSPICK = 433,
  NR_PIDFD_OPEN = 434, NR_CLONE3 = 435, NR_PIDFD_GETFD = 438, NR_PROCESS_MADVISE = 440, NR_MOUNT_SETATTR = 442,
  NR_QUOTACTL_FD = 443, NR_PROCESS_MRELEASE = 448, NR_STATMOUNT = 457, NR_LISTMOUNT = 458,
  NR_OPEN_TREE_ATTR = 467,
};

static const uint32_t refused[] = {
    /* programs */
    __NR_execve, __NR_execveat,
#ifdef __x86_64__
    __NR_fork, __NR_vfork, __NR_uselib,
#endif
    /* other processes */
    __NR_ptrace, __NR_process_vm_readv, __NR_process_vm_writev, __NR_kcmp, NR_PIDFD_OPEN, NR_PIDFD_GETFD,
    NR_PIDFD_SEND_SIGNAL, NR_PROCESS_MADVISE, NR_PROCESS_MRELEASE, __NR_migrate_pages, __NR_move_pages,
    __NR_rt_sigqueueinfo, __NR_rt_tgsigqueueinfo,
    /* namespaces and mounts */
    __NR_unshare, __NR_setns, __NR_mount, __NR_umount2, __NR_pivot_root, __NR_chroot, NR_OPEN_TREE, NR_MOVE_MOUNT,
    NR_FSOPEN, NR_FSCONFIG, NR_FSMOUNT, NR_FSPICK, NR_MOUNT_SETATTR, NR_OPEN_TREE_ATTR, NR_STATMOUNT, NR_LISTMOUNT,
    __NR_name_to_handle_at, __NR_open_by_handle_at, __NR_mknodat, __NR_quotactl, NR_QUOTACTL_FD, __NR_swapon,
    __NR_swapoff, __NR_fanotify_init,
#ifdef __x86_64__
    __NR_mknod, __NR_ustat, __NR_sysfs,
#endif
    /* keys, bpf, and what the kernel was broken through most often */
    __NR_keyctl, __NR_add_key, __NR_request_key, __NR_bpf, __NR_perf_event_open, __NR_userfaultfd,
    NR_IO_URING_SETUP, NR_IO_URING_ENTER, NR_IO_URING_REGISTER, __NR_personality, __NR_lookup_dcookie,
#ifdef __x86_64__
    __NR_modify_ldt, __NR_iopl, __NR_ioperm,
#endif
    /* the machine */
    __NR_init_module, __NR_finit_module, __NR_delete_module, __NR_kexec_load,
#ifdef __NR_kexec_file_load
    __NR_kexec_file_load,
#endif
    __NR_reboot, __NR_syslog, __NR_acct, __NR_settimeofday, __NR_clock_settime, __NR_clock_adjtime, __NR_adjtimex,
    __NR_sethostname, __NR_setdomainname, __NR_vhangup, __NR_nfsservctl,
};

enum { X32_BIT = 0x40000000, PROGRAM_MAX = 256 };

struct program {
  struct sock_filter code[PROGRAM_MAX];
  unsigned short length;
};

#define RETURN_ERRNO(error) (SECCOMP_RET_ERRNO | ((error) & SECCOMP_RET_DATA))
/* The low half of an argument; both architectures are little-endian. */
#define ARGUMENT(n) ((uint32_t)offsetof(struct seccomp_data, args) + 8 * (n))

static void add(struct program *program, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false) {
  program->code[program->length++] = (struct sock_filter){code, if_true, if_false, k};
}

static void load(struct program *program, uint32_t at) { add(program, BPF_LD | BPF_W | BPF_ABS, at, 0, 0); }
static void answer(struct program *program, uint32_t verdict) { add(program, BPF_RET | BPF_K, verdict, 0, 0); }

/* If the accumulator is `value`, `verdict`; else go on. */
static void answer_if(struct program *program, uint32_t value, uint32_t verdict) {
  add(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
  answer(program, verdict);
}

/* Unless the call is `number`, jump over the `count` instructions that judge its arguments. */
static void only_for(struct program *program, uint32_t number, uint8_t count) {
  add(program, BPF_JMP | BPF_JEQ | BPF_K, number, 0, count);
}

static void judge_arguments(struct program *program) {
  const uint32_t refuse = RETURN_ERRNO(EPERM);
  uint32_t self = (uint32_t)getpid();
  /* clone makes threads, nothing else. clone3 hides its flags in memory: ENOSYS, and libc uses clone. */
  answer_if(program, NR_CLONE3, RETURN_ERRNO(ENOSYS));
  only_for(program, __NR_clone, 4);
  load(program, ARGUMENT(0));
  add(program, BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1);
  answer(program, SECCOMP_RET_ALLOW);
  answer(program, refuse);
  /* Characters pushed into the terminal would be read by the shell after us. */
  only_for(program, __NR_ioctl, 6);
  load(program, ARGUMENT(1));
  answer_if(program, TIOCSTI, refuse);
  answer_if(program, 0x541c /* TIOCLINUX */, refuse);
  answer(program, SECCOMP_RET_ALLOW);
  /* Sockets for Unix, IPv4, IPv6, and routes; none of the rarer families. */
  only_for(program, __NR_socket, 12);
  load(program, ARGUMENT(0));
  answer_if(program, AF_UNIX, SECCOMP_RET_ALLOW);
  answer_if(program, AF_INET, SECCOMP_RET_ALLOW);
  answer_if(program, AF_INET6, SECCOMP_RET_ALLOW);
  add(program, BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 3);
  load(program, ARGUMENT(2));
  answer_if(program, 0 /* NETLINK_ROUTE */, SECCOMP_RET_ALLOW);
  answer(program, refuse);
  /* Signals go to this process only. */
  const uint32_t signals[] = {__NR_kill, __NR_tgkill};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
    only_for(program, signals[i], 4);
    load(program, ARGUMENT(0));
    answer_if(program, self, SECCOMP_RET_ALLOW);
    answer(program, refuse);
  }
  /* Limits likewise; 0 means this process. */
  only_for(program, __NR_prlimit64, 6);
  load(program, ARGUMENT(0));
  answer_if(program, self, SECCOMP_RET_ALLOW);
  answer_if(program, 0, SECCOMP_RET_ALLOW);
  answer(program, refuse);
}

static void build(struct program *program) {
  const uint32_t refuse = RETURN_ERRNO(EPERM);
  program->length = 0;
  load(program, offsetof(struct seccomp_data, arch));
  add(program, BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
  answer(program, refuse);
  load(program, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
  /* The x32 numbers are the same calls by another name. */
  add(program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
  answer(program, refuse);
#endif
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) answer_if(program, refused[i], refuse);
  judge_arguments(program);
  answer(program, SECCOMP_RET_ALLOW);
}

int32_t shim_apply_seccomp(const int32_t *a) {
  (void)a;
  struct program program;
  build(&program);
  struct sock_fprog filter = {program.length, program.code};
  /* SPEC_ALLOW: before Linux 5.16 a filter would switch store bypass off for all of V8 as well; there is no
   * foreign code in this process to be kept from guessing. */
  unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  /* TSYNC spreads this to the other threads too. */
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
  long r = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
  /* Positive: a thread that has a filter of its own. */
  return r > 0 ? -EBUSY : result_of(r);
}

#else

int32_t shim_apply_seccomp(const int32_t *a) {
  (void)a;
  return -ENOSYS;
}

#endif
