//! Runs one component through the built-in VMM, cold, from a snapshot and reset, and prints what each way took.
//!
//!     cargo run --release -p limes-vmm --example call -- VMM UNIKERNEL COMPONENT EXPORT ARGUMENT [ROUNDS]

use limes_channel::{Contract, Decode, Input, Limits, ToGuest, ToHost, VERSION, frame};
use limes_vmm::{Event, Image, Worker};
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, vmm, unikernel, component, export, argument, ..] = &args[..] else {
        return Err("see the source".into());
    };
    let rounds: u32 = args.get(6).map_or(Ok(20), |rounds| rounds.parse())?;
    let artifact = compile(&std::fs::read(component)?)?;
    if let Some(path) = std::env::var_os("LIMES_ARTIFACT") {
        std::fs::write(path, &artifact)?;
    }
    let image = Image::build(&std::fs::read(unikernel)?, &artifact, 192 << 20)?;
    let load = ToGuest::Load {
        version: VERSION,
        contract: Contract::Run,
        export,
        limits: Limits {
            memory: 128 << 20,
            table_elements: 100_000,
            instances: 64,
            stack: 512 << 10,
            handles: 1024,
        },
        env: vec![],
        args: vec!["function"],
        tsc_hz: 1_000_000_000,
        seed: [1; 32],
        wall_clock: 0,
    };
    let call = |seed| ToGuest::Call {
        id: 1,
        seed: [seed; 32],
        wall_clock: 0,
        input: Input::Run(argument.len() as u64),
        first: argument.as_bytes(),
        rest: None,
    };
    let path = std::path::Path::new(vmm);
    let mut times = [vec![], vec![], vec![], vec![], vec![]];
    let mut snapshot = None;
    for round in 0..rounds {
        let mut worker = Worker::start(path)?;
        std::thread::sleep(std::time::Duration::from_millis(30));
        let begun = Instant::now();
        worker.load(&image)?;
        let ready = exchange(&mut worker, &load)?;
        times[0].push(begun.elapsed());
        if round == 0 {
            println!("ready: {ready:?}");
            worker.snapshot()?;
            while snapshot.is_none() {
                match worker.wait()? {
                    Event::Snapshot(image) => snapshot = Some(image),
                    other => println!("{other:?}"),
                }
            }
        }
        let answer = exchange(&mut worker, &call(1))?;
        times[1].push(begun.elapsed());
        if round == 0 {
            println!("answer: {}", answer.join(" | "));
        }
    }
    let snapshot = snapshot.ok_or("no snapshot")?;
    println!("image {} bytes, snapshot {} bytes", image.bytes(), snapshot.bytes());
    for round in 0..rounds {
        let mut worker = Worker::start(path)?;
        std::thread::sleep(std::time::Duration::from_millis(30));
        let begun = Instant::now();
        worker.load(&snapshot)?;
        let answer = exchange(&mut worker, &call(2))?;
        times[2].push(begun.elapsed());
        if round == 0 {
            println!("answer: {}", answer.join(" | "));
        }
        for _ in 0..5 {
            let begun = Instant::now();
            exchange(&mut worker, &call(3))?;
            times[3].push(begun.elapsed());
        }
        for _ in 0..5 {
            let begun = Instant::now();
            worker.reset()?;
            exchange(&mut worker, &call(3))?;
            times[4].push(begun.elapsed());
        }
    }
    for (name, times) in ["ready", "cold", "snapshot", "warm", "reset and call"].iter().zip(&mut times) {
        times.sort();
        println!("{name:16} median {:?} min {:?}", times[times.len() / 2], times[0]);
    }
    Ok(())
}

fn exchange(worker: &mut Worker, message: &ToGuest<'_>) -> Result<Vec<String>, Failure> {
    let mut bytes = Vec::new();
    frame::write(message, &mut bytes);
    assert_eq!(worker.to_guest().write(&bytes)?, bytes.len());
    worker.resume()?;
    let mut reader = frame::Reader::new();
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match worker.wait()? {
            Event::Waiting => {}
            Event::Loaded | Event::Reset => continue,
            other => return Err(format!("{other:?} after {said:?}").into()),
        }
        loop {
            let count = worker.to_host().read(&mut buffer)?;
            if count == 0 {
                break;
            }
            reader.push(&buffer[..count]);
        }
        while let Some(payload) = reader.next_frame()? {
            let message = ToHost::decode(payload)?;
            let over = matches!(message, ToHost::Ready { .. } | ToHost::Done(_));
            said.push(match message {
                ToHost::Chunk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            });
            if over {
                return Ok(said);
            }
        }
        worker.resume()?;
    }
}

fn compile(component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let mut config = wasmtime::Config::new();
    config.target("x86_64-unknown-linux-gnu")?;
    // SAFETY: flags of the baseline that the guest allows.
    unsafe {
        for flag in ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"] {
            config.cranelift_flag_enable(flag);
        }
    }
    config
        .signals_based_traps(false)
        .memory_reservation(0)
        .memory_guard_size(0)
        .memory_reservation_for_growth(0)
        .memory_init_cow(false)
        .wasm_threads(false)
        .gc_support(false)
        .concurrency_support(false)
        .wasm_component_model_async(false);
    wasmtime::Engine::new(&config)?.precompile_component(component)
}
