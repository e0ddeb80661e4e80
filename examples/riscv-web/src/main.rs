//! A web server: picoserve with paths, queries, forms and JSON. The wire is in memory, and a software interrupt stands
//! in for a network card's.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use board::say;
use core::cell::RefCell;
use core::convert::Infallible;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll, Waker};
use picoserve::extract::{Form, Json, Query, State};
use picoserve::io::embedded_io_async::ErrorType;
use picoserve::io::{BaseWrite, Read, Socket, Write};
use picoserve::mem::{BorrowedBuffer, BorrowedCursor};
use picoserve::response::{IntoResponse, StatusCode};
use picoserve::routing::{get, parse_path_segment, post};
use picoserve::time::{Duration, Timer};
use picoserve::{Config, Router, Server, Timeouts};
use riscv_rt::{core_interrupt, entry};
use serde::{Deserialize, Serialize};

/// What the pages show and change.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lamp {
    name: String,
    level: u8,
    on: bool,
}

#[derive(Deserialize)]
struct Paint {
    red: u8,
    green: u8,
    #[serde(default)]
    blue: u8,
}

#[derive(Deserialize)]
struct Search {
    above: Option<u8>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Change {
    index: usize,
    level: u8,
}

#[derive(Serialize)]
struct Overview {
    lamps: Vec<Lamp>,
    total: u32,
    requests: u32,
}

static REQUESTS: AtomicU32 = AtomicU32::new(0);

type Lamps<'a> = &'a RefCell<Vec<Lamp>>;

/// One connection: what the client has said, and what it is told.
struct Wire<'a> {
    said: &'a [u8],
    told: &'a mut Vec<u8>,
}

struct Said<'a>(&'a [u8]);
struct Told<'a>(&'a mut Vec<u8>);

impl ErrorType for Said<'_> {
    type Error = Infallible;
}

impl Read for Said<'_> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Infallible> {
        let (now, later) = self.0.split_at(into.len().min(self.0.len()));
        into[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

impl ErrorType for Told<'_> {
    type Error = Infallible;
}

impl BaseWrite for Told<'_> {
    async fn write(&mut self, from: &[u8]) -> Result<usize, Infallible> {
        self.0.extend_from_slice(from);
        Ok(from.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Write for Told<'_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(&mut self, fill: F) -> Result<R, Infallible> {
        let mut bytes = [0; 128];
        let mut buffer = BorrowedBuffer::new(&mut bytes);
        let result = fill(buffer.unfilled());
        self.0.extend_from_slice(buffer.filled());
        Ok(result)
    }
}

/// Names this program's way of running futures to picoserve.
struct Polled;

impl Socket<Polled> for Wire<'_> {
    type Error = Infallible;
    type ReadHalf<'a>
        = Said<'a>
    where
        Self: 'a;
    type WriteHalf<'a>
        = Told<'a>
    where
        Self: 'a;

    fn split(&mut self) -> (Said<'_>, Told<'_>) {
        (Said(self.said), Told(self.told))
    }

    async fn abort<T: Timer<Polled>>(self, _: &Timeouts, _: &T) -> Result<(), picoserve::Error<Infallible>> {
        Ok(())
    }

    async fn shutdown<T: Timer<Polled>>(self, _: &Timeouts, _: &T) -> Result<(), picoserve::Error<Infallible>> {
        Ok(())
    }
}

/// Nothing takes long in memory.
struct NoTimeouts;

impl Timer<Polled> for NoTimeouts {
    async fn delay(&self, _: Duration) {
        core::future::pending().await
    }
}

/// Polls a future that never has to wait for anything.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

async fn overview(State(lamps): State<Lamps<'static>>) -> impl IntoResponse {
    let lamps = lamps.borrow().clone();
    let total = lamps.iter().map(|lamp| u32::from(lamp.level)).sum();
    Json(Overview {
        lamps,
        total,
        requests: REQUESTS.load(Ordering::Relaxed),
    })
}

async fn search(State(lamps): State<Lamps<'static>>, Query(search): Query<Search>) -> impl IntoResponse {
    let matches = |lamp: &&Lamp| {
        search.above.is_none_or(|above| lamp.level > above)
            && search
                .name
                .as_ref()
                .is_none_or(|name| lamp.name.contains(name.as_str()))
    };
    let found: Vec<Lamp> = lamps.borrow().iter().filter(matches).cloned().collect();
    if found.is_empty() {
        Err((StatusCode::NOT_FOUND, "no such lamp\n"))
    } else {
        Ok(Json(found))
    }
}

async fn change(State(lamps): State<Lamps<'static>>, Form(change): Form<Change>) -> impl IntoResponse {
    match lamps.borrow_mut().get_mut(change.index) {
        Some(lamp) => {
            lamp.level = change.level;
            lamp.on = change.level > 0;
            Ok(Json(lamp.clone()))
        }
        None => Err((StatusCode::NOT_FOUND, "no such lamp\n")),
    }
}

async fn paint(Json(paint): Json<Paint>) -> impl IntoResponse {
    let Paint { red, green, blue } = paint;
    picoserve::response::DebugValue((
        red,
        green,
        blue,
        (u16::from(red) + u16::from(green) + u16::from(blue)) / 3,
    ))
}

const REQUESTS_MADE: &[&str] = &[
    "GET / HTTP/1.1\r\n\r\n",
    "GET /lamps HTTP/1.1\r\nHost: lamp\r\n\r\n",
    "GET /search?above=40&name=a HTTP/1.1\r\n\r\n",
    "GET /search?name=%78 HTTP/1.1\r\n\r\n",
    "GET /search?above=high HTTP/1.1\r\n\r\n",
    "POST /change HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 16\r\n\r\nindex=1&level=99",
    "POST /change HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\nindex=x",
    "POST /paint HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{\"red\": 1, \"green\": 20}",
    "POST /paint HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"red\": 300}",
    "GET /add/40/2 HTTP/1.1\r\n\r\n",
    "GET /add/40/two HTTP/1.1\r\n\r\n",
    "GET /nowhere HTTP/1.1\r\n\r\n",
    "DELETE /lamps HTTP/1.1\r\n\r\n",
    "nonsense\r\n\r\n",
];

#[core_interrupt(riscv::interrupt::Interrupt::MachineSoft)]
fn arrived() {
    interrupt(false);
    REQUESTS.store(REQUESTS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Raises or withdraws the software interrupt of QEMU's machine virt.
fn interrupt(raised: bool) {
    // SAFETY: the register is there on this machine, and a write of it does nothing else.
    unsafe { core::ptr::write_volatile(0x0200_0000 as *mut u32, u32::from(raised)) }
}

#[entry]
fn main() -> ! {
    board::heap!(64 * 1024);
    // SAFETY: the handler above shares nothing but an atomic counter.
    unsafe {
        riscv::register::mie::set_msoft();
        riscv::interrupt::enable();
    }
    let lamp = |name: &str, level| Lamp {
        name: name.into(),
        level,
        on: level > 0,
    };
    let lamps = alloc::boxed::Box::new(RefCell::new(Vec::from([
        lamp("hall", 80),
        lamp("stairs", 0),
        lamp("porch", 35),
    ])));
    let lamps: Lamps<'static> = alloc::boxed::Box::leak(lamps);
    let app = Router::new()
        .route("/", get(|| async { "lamps: see /lamps\n" }))
        .route("/lamps", get(overview))
        .route("/search", get(search))
        .route("/change", post(change))
        .route("/paint", post(paint))
        .route(
            ("/add", parse_path_segment::<i32>(), parse_path_segment::<i32>()),
            get(|(left, right): (i32, i32)| async move { picoserve::response::DebugValue(left.checked_add(right)) }),
        )
        .with_state(lamps);
    let config = Config::default();
    let mut served = 0;
    for request in REQUESTS_MADE {
        interrupt(true);
        let (mut told, mut buffer) = (Vec::new(), [0; 512]);
        let wire = Wire {
            said: request.as_bytes(),
            told: &mut told,
        };
        let result = run(Server::custom(&app, NoTimeouts, &config, &mut buffer).serve(wire));
        say!("{}", request.lines().next().unwrap_or_default());
        for line in core::str::from_utf8(&told).unwrap_or("not text").lines() {
            say!("  {line}");
        }
        match result {
            Ok(end) => served += end.handled_requests_count,
            Err(error) => say!("  {error:?}"),
        }
    }
    say!("{served} requests served of {}", REQUESTS.load(Ordering::Relaxed));
    if cfg!(feature = "panic") {
        let _still_borrowed = lamps.borrow_mut();
        say!("{}", lamps.borrow().len());
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
