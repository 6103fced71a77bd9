//! What the other side may send: anything. Nothing of it may panic, loop, or take memory that was only announced.

use limes_channel::ring::{BYTES, CAPACITY, Direction, End};
use limes_channel::{
    Answer, Ask, Decode, Head, Input, MAX_FRAME, Outcome, Output, ToGuest, ToHost, Trap, frame,
};
use proptest::prelude::*;

/// Zeroed memory as both sides map it.
#[repr(C, align(4096))]
struct Shared(std::cell::UnsafeCell<[u8; BYTES]>);

fn shared() -> Box<Shared> {
    Box::new(Shared(std::cell::UnsafeCell::new([0; BYTES])))
}

fn ends(memory: &Shared, direction: Direction) -> (End, End) {
    let base = memory.0.get().cast::<u8>().cast_const();
    // SAFETY: the memory is long enough, aligned, and outlives the ends in each test.
    unsafe { (End::new(base, direction), End::new(base, direction)) }
}

proptest! {
    #[test]
    fn noise_is_a_message_or_an_error(noise in proptest::collection::vec(any::<u8>(), 0..2048)) {
        if let Ok(message) = ToHost::decode(&noise) {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(ToHost::decode(&again).unwrap(), message);
        }
        if let Ok(message) = ToGuest::decode(&noise) {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(ToGuest::decode(&again).unwrap(), message);
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8),
        cuts in proptest::collection::vec(1usize..64, 1..64),
    ) {
        let mut stream = Vec::new();
        for payload in &payloads {
            frame::write(&ToHost::Chunk(payload), &mut stream);
        }
        let mut reader = frame::Reader::new();
        let mut found = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            reader.push(now);
            while let Some(payload) = reader.next_frame().unwrap() {
                let ToHost::Chunk(bytes) = ToHost::decode(payload).unwrap() else { panic!("another message") };
                found.push(bytes.to_vec());
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, payloads);
        prop_assert_eq!(reader.pending(), 0);
    }

    #[test]
    fn a_truncated_message_is_refused(bytes in proptest::collection::vec(any::<u8>(), 1..64), id in any::<u64>()) {
        let input = Input::Http { method: "GET", scheme: "http", authority: "a", path: "/", headers: vec![("x", &bytes)] };
        let call = ToGuest::Call { id, seed: [7; 32], wall_clock: 1, input, first: &bytes, rest: None };
        let mut whole = Vec::new();
        call.encode(&mut whole);
        for end in 0..whole.len() {
            prop_assert!(ToGuest::decode(&whole[..end]).is_err());
        }
        whole.push(0);
        prop_assert!(ToGuest::decode(&whole).is_err());
    }

    #[test]
    fn positions_that_lie_are_refused_or_yield_bytes(written in any::<u32>(), read in any::<u32>(), own in 0u32..CAPACITY) {
        let memory = shared();
        let (mut writer, mut reader) = ends(&memory, Direction::ToHost);
        let mut sink = vec![0; CAPACITY as usize];
        prop_assert_eq!(writer.write(&vec![1; own as usize]).unwrap(), own as usize);
        prop_assert_eq!(reader.read(&mut sink).unwrap(), own as usize);
        let base = memory.0.get().cast::<u8>();
        // SAFETY: both offsets lie in the page of positions; nobody else uses the memory now.
        unsafe {
            base.add(128).cast::<u32>().write(written);
            base.add(192).cast::<u32>().write(read);
        }
        if let Ok(count) = reader.read(&mut sink) {
            prop_assert!(count <= CAPACITY as usize);
        }
        if let Ok(count) = writer.write(&sink) {
            prop_assert!(count <= CAPACITY as usize);
        }
    }

    #[test]
    fn a_ring_carries_a_stream_around_its_end(pieces in proptest::collection::vec(1usize..90_000, 1..16)) {
        let memory = shared();
        let (mut writer, mut reader) = ends(&memory, Direction::ToGuest);
        let mut next = 0u8;
        for piece in pieces {
            let sent: Vec<u8> = (0..piece).map(|_| { next = next.wrapping_mul(31).wrapping_add(7); next }).collect();
            prop_assert_eq!(writer.write(&sent).unwrap(), piece);
            let mut got = vec![0; piece];
            prop_assert_eq!(reader.read(&mut got).unwrap(), piece);
            prop_assert_eq!(got, sent);
        }
    }
}

#[test]
fn a_full_ring_takes_no_more() {
    let memory = shared();
    let (mut writer, mut reader) = ends(&memory, Direction::ToHost);
    let bytes = vec![5; CAPACITY as usize + 1];
    assert_eq!(writer.write(&bytes).unwrap(), CAPACITY as usize);
    assert_eq!(writer.write(&bytes).unwrap(), 0);
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 10);
    assert_eq!(writer.write(&bytes).unwrap(), 10);
}

#[test]
fn an_announced_length_takes_no_memory() {
    let mut reader = frame::Reader::new();
    reader.push(&(MAX_FRAME as u32).to_le_bytes());
    assert_eq!(reader.next_frame(), Ok(None));
    assert_eq!(reader.pending(), 4);
    for bad in [0, MAX_FRAME as u32 + 1, u32::MAX] {
        let mut reader = frame::Reader::new();
        reader.push(&bad.to_le_bytes());
        assert_eq!(reader.next_frame(), Err(frame::BadLength(bad)));
    }
}

#[test]
fn a_sequence_that_announces_more_than_it_has_is_refused() {
    // Variant `Finished` with 2^60 trailers.
    let noise = [5, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    assert!(ToHost::decode(&noise).is_err());
}

#[test]
fn every_message_survives_the_way() {
    let head = Head { status: 200, headers: vec![("content-type", b"text/plain")] };
    let messages = [
        ToHost::Ready { version: 1, instantiate: 3 },
        ToHost::Output(Output::Stderr, b"x"),
        ToHost::Ask(Ask::Poll { pollables: vec![1, 2], timeout: Some(5) }),
        ToHost::Head(Ok(head.clone())),
        ToHost::Finished(vec![("t", b"1")]),
        ToHost::Done(Outcome::Trapped { trap: Trap::Wasm, message: "unreachable", backtrace: "0: f" }),
    ];
    for message in messages {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(ToHost::decode(&bytes).unwrap(), message);
    }
    let reply = ToGuest::Reply(Answer::Response { head, body: 9 });
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    assert_eq!(ToGuest::decode(&bytes).unwrap(), reply);
}
