//! Links the way of the kernel.

fn main() {
    limes_link::as_unikernel();
}
