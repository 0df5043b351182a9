//! What a hostile guest does.

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{ErrorCode, Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};

use crate::host::{self, annex::host::storage_kv};
use crate::reply::Reply;

pub fn attack(path: &str, number: u64, out: ResponseOutparam) {
    match path {
        "/spin" => spin(),
        "/spin-after" => {
            Reply::text("answered").send(out);
            spin()
        }
        "/spin-in-host" => loop {
            black_box(monotonic_clock::now());
        },
        "/sleep" => std::thread::sleep(Duration::from_secs(3600)),
        "/allocate" => {
            let mut held = Vec::new();
            loop {
                held.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "/allocate-and-live" => {
            let refused = std::iter::repeat_with(|| core::arch::wasm32::memory_grow::<0>(16))
                .any(|before| before == usize::MAX);
            Reply::text(refused.to_string()).send(out);
        }
        "/recurse" => {
            black_box(recurse(1));
        }
        "/panic" => panic!("as asked"),
        "/exit" => std::process::exit(3),
        "/random" => {
            black_box(wasip2::random::random::get_random_bytes(1 << 30));
        }
        "/host-bytes" => {
            let _ = storage_kv::set("v", &vec![0; 8 << 20]);
            Reply::text("not ended").send(out);
        }
        "/resources" => {
            let held: Vec<_> = (0..number).map(|_| Fields::new()).collect();
            Reply::text(held.len().to_string()).send(out);
        }
        "/timers" => {
            let held: Vec<_> = (0..number).map(|_| monotonic_clock::subscribe_duration(u64::MAX)).collect();
            Reply::text(held.len().to_string()).send(out);
        }
        "/buffers" => Reply::text(buffers(number).to_string()).send(out),
        "/headers" => {
            let headers = Fields::new();
            for _ in 0..number {
                headers.append("x-more", b"and more").unwrap();
            }
            Reply { headers, ..Reply::text("") }.send(out);
        }
        "/large-header" => {
            let _ = Fields::new().append("x-large", &vec![b'x'; 1 << 19]);
            Reply::text("not ended").send(out);
        }
        "/bad-headers" => {
            let headers = Fields::new();
            let values: [&[u8]; 4] = [b"a\r\nset-cookie: b", b"a\nb", b"a\0b", b"a\x7fb"];
            let refused = values.iter().all(|value| headers.append("x-bad", value).is_err())
                && headers.append("x bad", b"a").is_err()
                && headers.append("x-bad\r\nset-cookie", b"a").is_err();
            Reply { headers, ..Reply::text(refused.to_string()) }.send(out);
        }
        "/odd-headers" => {
            let headers = Fields::new();
            headers.append("x-ext-odd", b"\xff\xfe").unwrap();
            headers.append("x-ext-odd", "ü".as_bytes()).unwrap();
            Reply { headers, ..Reply::text("ok") }.send(out);
        }
        "/set-cookie" => {
            let headers = Fields::new();
            headers.append("set-cookie", b"session=stolen").unwrap();
            headers.append("x-mine", b"stays").unwrap();
            headers.append("content-length", b"2").unwrap();
            Reply { headers, ..Reply::text("ok") }.send(out);
        }
        "/status" => {
            let status = u16::try_from(number).unwrap();
            Reply { status, ..Reply::text("") }.send(out);
        }
        "/exchange-then-panic" => panic!("as asked, after {} bytes", host::exchange(number)),
        "/no-answer" => drop(out),
        "/error" => ResponseOutparam::set(out, Err(ErrorCode::LoopDetected)),
        "/unfinished" => {
            let (body, mut stream) = begin(out);
            stream.write_all(b"half").unwrap();
            drop((stream, body));
        }
        "/body" => {
            let (_body, mut stream) = begin(out);
            let chunk = vec![b'x'; 1 << 16];
            while stream.write_all(&chunk).is_ok() {}
        }
        "/half-then-panic" => {
            let (_body, mut stream) = begin(out);
            stream.write_all(b"half").unwrap();
            panic!("as asked");
        }
        _ => Reply { status: 404, ..Reply::text("") }.send(out),
    }
}

pub fn spin() -> ! {
    loop {
        black_box(());
    }
}

#[expect(unconditional_recursion, reason = "this is the attack")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1))) + 1
}

fn begin(out: ResponseOutparam) -> (OutgoingBody, wasip2::io::streams::OutputStream) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().unwrap();
    (body, stream)
}

/// Fills the buffers of many answers that are never sent, and says how many bytes the host took.
fn buffers(answers: u64) -> u64 {
    let mut held = Vec::new();
    let mut taken = 0;
    for _ in 0..answers {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        let stream = body.write().unwrap();
        while let Ok(room @ 1..) = stream.check_write() {
            stream.write(&vec![0; usize::try_from(room).unwrap()]).unwrap();
            taken += room;
        }
        held.push((stream, body, response));
    }
    taken
}
