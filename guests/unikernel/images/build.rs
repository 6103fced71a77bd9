//! Links the way of the kernel, with leave to use ports: an image of others has its console there.

fn main() {
    limes_link::as_unikernel();
    println!("cargo:rustc-link-arg-bin=spare=-Wl,--defsym=ring3_flags=0x3002");
}
