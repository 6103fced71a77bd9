//! The walls around a machine's process. What escapes from a guest finds KVM, the machine's memory and its channel, and no way to anything else.
//!
//! Namespaces and Landlock are taken where the system permits them; without system calls to misuse they guard an empty room. The list of
//! system calls is not optional: where it cannot be installed the process ends.

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// Closes what the owner's process has left open, above standard error. To be called before anything else is opened.
pub(crate) fn close_inherited() {
    // SAFETY: nothing of this process has been opened yet, so nobody holds one of these descriptors.
    unsafe { libc::close_range(3, u32::MAX, 0) };
}

/// Leaves the namespaces, the file system and the network. To be called by the only thread.
pub(super) fn enclose() -> io::Result<()> {
    const NAMESPACES: i32 = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    // SAFETY: the process has one thread; what it uses from here on needs no name in any namespace.
    unsafe { libc::unshare(NAMESPACES) };
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) })?;
    let locked = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V6)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self());
    locked.map(drop).map_err(io::Error::other)
}

/// Allows from here on what a machine needs, and ends the process at anything else.
pub(super) fn restrict() -> io::Result<()> {
    let filter: seccompiler::BpfProgram = rules()
        .and_then(|rules| {
            SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)
        })
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)?;
    seccompiler::apply_filter(&filter).map_err(io::Error::other)
}

/// Calls that are allowed whatever their arguments.
const ALLOWED: [i64; 18] = [
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_madvise,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_pwrite64,
    libc::SYS_close,
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Requests to KVM, by their numbers in `linux/kvm.h`, and the one to the page map.
const REQUESTS: [u64; 10] = [
    // KVM_RUN
    0xae80,
    // KVM_GET_REGS, KVM_SET_REGS
    0x8090_ae81,
    0x4090_ae82,
    // KVM_GET_SREGS, KVM_SET_SREGS
    0x8138_ae83,
    0x4138_ae84,
    // KVM_GET_XSAVE, KVM_SET_XSAVE, KVM_SET_XCRS
    0x9000_aea4,
    0x5000_aea5,
    0x4188_aea7,
    // KVM_SET_USER_MEMORY_REGION
    0x4020_ae46,
    limes_pagemap::OPCODE as u64,
];

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.into_iter().map(|call| (call, vec![])).collect();
    let requests = REQUESTS.into_iter().map(|request| rule(1, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    // Memory is never made executable.
    let executable = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(2, SeccompCmpOp::MaskedEq(executable), 0)?]);
    }
    Ok(rules)
}

fn rule(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal, WaitOptions, waitpid};

    /// How a process ends that is jailed as a machine's is and then does `what`: the signal that killed it, or its exit code.
    fn jailed(what: fn() -> bool) -> Result<Signal, i32> {
        // SAFETY: the child makes system calls and ends; it returns to nothing of the parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let done = enclose().and_then(|()| restrict()).is_ok() && what();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!done)) };
        }
        let (_, status) = waitpid(Pid::from_raw(child), WaitOptions::empty()).unwrap().unwrap();
        match status.terminating_signal().and_then(Signal::from_named_raw) {
            Some(signal) => Ok(signal),
            None => Err(status.exit_status().unwrap()),
        }
    }

    #[test]
    fn what_a_machine_needs_is_permitted() {
        assert_eq!(jailed(|| Vec::<u8>::with_capacity(1 << 20).capacity() > 0), Err(0));
    }

    #[test]
    fn a_jailed_process_opens_no_file_makes_no_socket_and_starts_nothing() {
        type Attempt = (&'static str, fn() -> bool);
        /// From `linux/fcntl.h`.
        const F_SETSIG: i32 = 10;
        let forbidden: [Attempt; 9] = [
            ("open a file", || std::fs::File::open("/etc/hostname").is_ok()),
            ("make a socket", || std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
            // SAFETY of these: they are never carried out.
            ("fork", || unsafe { libc::fork() } >= 0),
            (
                "run a program",
                || unsafe { libc::execve(c"/bin/true".as_ptr(), std::ptr::null(), std::ptr::null()) } == 0,
            ),
            ("look at another process", || unsafe { libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0) } == 0),
            // SAFETY: signal 0 only asks.
            ("kill another process", || unsafe { libc::kill(1, 0) } == 0),
            // SAFETY of these: they would change who is told of what comes at standard input.
            (
                "have another process signalled",
                || unsafe { libc::fcntl(0, libc::F_SETOWN, libc::getppid()) } == 0,
            ),
            ("choose by which signal", || unsafe { libc::fcntl(0, F_SETSIG, libc::SIGKILL) } == 0),
            ("make memory executable", || {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let wanted = libc::PROT_READ | libc::PROT_EXEC;
                // SAFETY: a new mapping disturbs nobody.
                unsafe { libc::mmap(std::ptr::null_mut(), 4096, wanted, flags, -1, 0) != libc::MAP_FAILED }
            }),
        ];
        for (what, attempt) in forbidden {
            assert_eq!(jailed(attempt), Ok(Signal::SYS), "{what}");
        }
    }
}
