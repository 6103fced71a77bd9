//! `limes-vmm`: one machine, in a process of its own, started by [`limes_vmm::Worker`] with their socket as standard input; or, with
//! arguments, the program that they name, as [`limes_vmm::launch`] has it.

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        None => limes_vmm::process::main(),
        Some(owner) => limes_vmm::launch::main(&owner, arguments),
    }
}
