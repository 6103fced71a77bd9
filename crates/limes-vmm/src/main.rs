//! `limes-vmm`: one machine, in a process of its own. It is started by [`limes_vmm::Worker`] with their socket as standard input.

fn main() {
    limes_vmm::process::main();
}
