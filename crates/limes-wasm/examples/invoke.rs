use limes_core::*;
use limes_wasm::*;
use std::sync::Arc;
use std::time::*;
struct Quiet;
impl Observer for Quiet { fn log(&self, _: &Control, _: LogStream, b: &[u8]) { eprint!("{}", String::from_utf8_lossy(b)); } fn finished(&self, _: &Control, r: Result<(), &Error>) { if let Err(e) = r { eprintln!("{e}") } } }
fn main() {
    let file = std::env::args().nth(1).unwrap();
    let n: u32 = std::env::args().nth(2).map_or(100000, |n| n.parse().unwrap());
    let sandbox = WasmSandbox::new(Settings::default()).unwrap();
    let t = Instant::now();
    let prepared = sandbox.load("hello", &std::fs::read(file).unwrap(), Limits::default(), Grants::default()).unwrap();
    println!("load {:?}", t.elapsed());
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let observer = Arc::new(Quiet);
    rt.block_on(async {
        for round in 0..3 {
        let t = Instant::now(); let c0 = cpu();
        let mut timing = Timing::default();
        for i in 0..n {
            let control = Control::new(i as u64, observer.clone());
            let request = http::Request::builder().uri("/").header("host", "localhost").body(Body::Empty).unwrap();
            let out = prepared.function.invoke(Invocation { input: Input::Http(request), control: control.clone(), deadline: Instant::now() + Duration::from_secs(30) }).await.unwrap();
            let Output::Http(r) = out else { panic!() };
            let b = r.into_body().collect(1000).await.unwrap();
            if i == 0 && round == 0 { println!("{:?}", b); }
            timing = control.timing();
        }
        println!("cpu {} ns; {:?} each; last {:?}", (cpu()-c0)/n as u64, t.elapsed() / n, timing);
        }
    });
}

fn cpu() -> u64 { let s = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap(); s.split(' ').next().unwrap().parse().unwrap() }
