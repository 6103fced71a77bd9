//! Machines that boot a few instructions instead of the unikernel: what the process around them can do, and how they end.

mod kernel;

use kernel::{DATA, TEXT, kernel, wait};
use limes_channel::machine::RING;
use limes_channel::ring::{CAPACITY, TO_GUEST, TO_HOST};
use limes_vmm::{Event, Image, Worker};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_limes-vmm");
const MEMORY: u64 = 32 << 20;

fn image(code: &[u8]) -> Image {
    Image::build(&kernel(code), &[], MEMORY).unwrap()
}

/// A worker with this image; `None`, and the reason said, where there is no KVM.
fn loaded(image: &Image) -> Option<Worker> {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        eprintln!("skipped: /dev/kvm cannot be opened: {error}");
        return None;
    }
    let mut worker = Worker::start(Path::new(BINARY), MEMORY).unwrap();
    worker.load(image).unwrap();
    assert!(matches!(worker.wait().unwrap(), Event::Loaded));
    Some(worker)
}

fn run(worker: &Worker) -> Event {
    worker.resume().unwrap();
    worker.wait().unwrap()
}

/// Runs until it waits, and resets it, so many times; each time the guest must find `what` as it was loaded.
fn run_and_reset(worker: &mut Worker, times: usize, what: &str) {
    for _ in 0..times {
        assert!(matches!(run(worker), Event::Waiting), "{what} was not what was loaded");
        worker.reset().unwrap();
        assert!(matches!(worker.wait().unwrap(), Event::Reset));
    }
}

fn proc(worker: &Worker, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{name}", worker.pid()))
}

#[test]
fn the_process_of_a_machine_has_nothing_open_but_its_own() {
    let Some(worker) = loaded(&image(&wait())) else { return };
    assert!(matches!(run(&worker), Event::Waiting));
    let mut open: Vec<String> = std::fs::read_dir(proc(&worker, "fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned())
        .map(|name| name.split('[').next().unwrap_or(&name).to_owned())
        .collect();
    open.sort();
    let pagemap = proc(&worker, "pagemap").to_string_lossy().into_owned();
    let own = ["/dev/null", "/dev/null", &pagemap, "anon_inode:kvm-vcpu:0", "anon_inode:kvm-vm", "socket:"];
    assert_eq!(open, own);
}

#[test]
fn the_process_of_a_machine_is_in_its_jail_before_any_guest_runs() {
    let Some(worker) = loaded(&image(&wait())) else { return };
    let status = std::fs::read_to_string(proc(&worker, "status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    };
    assert_eq!(
        (field("Seccomp:"), field("NoNewPrivs:"), field("Threads:")),
        ("2".into(), "1".into(), "1".into())
    );
    let limits = std::fs::read_to_string(proc(&worker, "limits")).unwrap();
    let bound =
        |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().nth(4);
    assert_eq!(bound("Max core file size"), Some("0"));
    let differs = |name: &str| {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        std::fs::read_link(proc(&worker, &format!("ns/{name}"))).unwrap() != own
    };
    if !differs("user") {
        eprintln!("skipped: the system permits no user namespaces");
        return;
    }
    for name in ["net", "mnt", "ipc", "uts"] {
        assert!(differs(name), "{name}");
    }
}

#[test]
fn a_fault_is_reported_with_its_registers() {
    // mov rax, 0x1234; mov rbp, 0x77; mov [rax], al: below the text nothing is mapped.
    let code = [0x48, 0xc7, 0xc0, 0x34, 0x12, 0, 0, 0x48, 0xc7, 0xc5, 0x77, 0, 0, 0, 0x88, 0x00];
    let Some(worker) = loaded(&image(&code)) else { return };
    let Event::Stopped(fault) = run(&worker) else { panic!("the machine went on") };
    assert_eq!((fault.rip, fault.rbp, fault.cr2), (TEXT + 14, 0x77, 0x1234), "{fault:?}");
    assert!(fault.exit.contains("Shutdown"), "{fault:?}");
}

#[test]
fn text_is_not_written_and_data_not_executed() {
    // mov byte ptr [0x200000], 0
    let writes = [0xc6, 0x04, 0x25, 0, 0, 0x20, 0, 0];
    // mov eax, 0x400000; jmp rax
    let executes = [0xb8, 0, 0, 0x40, 0, 0xff, 0xe0];
    for (code, at) in [(&writes[..], TEXT), (&executes[..], DATA)] {
        let Some(worker) = loaded(&image(code)) else { return };
        let Event::Stopped(fault) = run(&worker) else { panic!("the machine went on") };
        assert_eq!(fault.cr2, at, "{fault:?}");
    }
}

/// Writes a byte into the rings' page of positions and into each ring, where nothing was sent, if they and the first that was sent to it are zero, and
/// waits; stops if not.
fn writes_to_rings() -> Vec<u8> {
    let mut code = Vec::new();
    let fresh = [2048, TO_GUEST, TO_GUEST + 70_000, TO_HOST, TO_HOST + 70_000];
    for (turn, offset) in (1_u8..).zip(fresh) {
        let at = (u32::try_from(RING).unwrap() + u32::try_from(offset).unwrap()).to_le_bytes();
        // mov edi, at; cmp byte ptr [rdi], 0; je on; ud2; on: mov byte ptr [rdi], turn
        code.push(0xbf);
        code.extend(at);
        code.extend([0x80, 0x3f, 0, 0x74, 0x02, 0x0f, 0x0b, 0xc6, 0x07, turn]);
    }
    code.extend(wait());
    code.extend([0x0f, 0x0b]);
    code
}

#[test]
fn a_machine_that_is_reset_finds_nothing_in_its_rings() {
    let Some(mut worker) = loaded(&image(&writes_to_rings())) else { return };
    for sent in [0, 1, 5000, CAPACITY as usize] {
        assert_eq!(worker.to_guest().write(&vec![0xee; sent]), Ok(sent));
        worker.reset().unwrap();
        assert!(matches!(worker.wait().unwrap(), Event::Reset));
        run_and_reset(&mut worker, 2, "a ring");
    }
}

/// Changes a byte of its data and one where the image has nothing, if they are what they were when it was loaded, and waits; stops if not.
fn writes() -> Vec<u8> {
    // inc byte ptr [0x400000]; cmp byte ptr [0x400000], 0x12; jne stop; cmp byte ptr [0x800000], 0; jne stop; mov byte ptr [0x800000], 1; wait; stop: ud2
    let mut code = vec![0xfe, 0x04, 0x25, 0, 0, 0x40, 0];
    code.extend([0x80, 0x3c, 0x25, 0, 0, 0x40, 0, 0x12, 0x75, 0x17]);
    code.extend([0x80, 0x3c, 0x25, 0, 0, 0x80, 0, 0, 0x75, 0x0d]);
    code.extend([0xc6, 0x04, 0x25, 0, 0, 0x80, 0, 1]);
    code.extend(wait());
    code.extend([0x0f, 0x0b]);
    code
}

#[test]
fn a_machine_that_is_reset_finds_its_memory_as_it_was_loaded() {
    // A second run without a reset finds 0x13, or what was written behind the image, and stops.
    let Some(mut worker) = loaded(&image(&writes())) else { return };
    run_and_reset(&mut worker, 20, "memory");
    assert!(matches!(run(&worker), Event::Waiting));
    assert!(matches!(run(&worker), Event::Stopped(_)), "it goes on where it was");
}

#[test]
fn a_machine_that_wrote_a_lot_is_reset_all_the_same() {
    // More than it may keep:
    // mov rdi, 0x800000; mov ecx, 0x1400000; mov al, 1; cmp [rdi+0x1300000], ch; jne ud2; rep stosb; wait; ud2
    let mut code = vec![0x48, 0xc7, 0xc7, 0, 0, 0x80, 0, 0xb9, 0, 0, 0x40, 1, 0xb0, 1];
    code.extend([0x38, 0xaf, 0, 0, 0x30, 1, 0x75, 0x07, 0xf3, 0xaa]);
    code.extend(wait());
    code.extend([0x0f, 0x0b]);
    let Some(mut worker) = loaded(&image(&code)) else { return };
    run_and_reset(&mut worker, 3, "memory");
}

#[test]
fn an_image_of_another_size_than_the_room_is_loaded_too() {
    let image = image(&wait());
    if loaded(&image).is_none() {
        return;
    }
    let mut worker = Worker::start(Path::new(BINARY), 64 << 20).unwrap();
    worker.load(&image).unwrap();
    assert!(matches!(worker.wait().unwrap(), Event::Loaded));
    assert!(matches!(run(&worker), Event::Waiting));
}

#[test]
fn the_process_ends_with_the_thread_that_started_it_even_while_its_guest_computes() {
    // jmp $
    let image = image(&[0xeb, 0xfe]);
    let started = std::thread::spawn(move || {
        let worker = loaded(&image)?;
        worker.resume().unwrap();
        // Nobody ends it by a drop.
        Some(std::mem::ManuallyDrop::new(worker).pid())
    });
    let Some(process) = started.join().unwrap() else { return };
    let end = Instant::now() + Duration::from_secs(10);
    let runs = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    };
    while runs() {
        assert!(Instant::now() < end, "it still runs");
        std::thread::yield_now();
    }
}

#[test]
fn the_upper_halves_of_vectors_do_not_outlive_a_reset() {
    if !is_x86_feature_detected!("avx") {
        eprintln!("skipped: the processor has no AVX");
        return;
    }
    // vextractf128 xmm1, ymm0, 1; vptest xmm1, xmm1; je go; ud2; go: vcmpeqps ymm0, ymm0, ymm0; wait; ud2
    let mut code =
        vec![0xc4, 0xe3, 0x7d, 0x19, 0xc1, 0x01, 0xc4, 0xe2, 0x79, 0x17, 0xc9, 0x74, 0x02, 0x0f, 0x0b];
    code.extend([0xc5, 0xfc, 0xc2, 0xc0, 0x00]);
    code.extend(wait());
    code.extend([0x0f, 0x0b]);
    let Some(mut worker) = loaded(&image(&code)) else { return };
    run_and_reset(&mut worker, 3, "a vector");
}
