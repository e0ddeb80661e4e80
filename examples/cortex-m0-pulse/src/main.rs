//! A pulse counter: one interrupt sees the edges of a signal, another closes the measuring windows, a lock-free queue
//! carries them to the main loop, which prints what it makes of them.
#![no_main]
#![no_std]

use board::say;
use core::cell::RefCell;
use core::fmt;
use cortex_m::peripheral::{SCB, SYST, syst::SystClkSource};
use cortex_m_rt::{entry, exception};
use critical_section::Mutex;
use heapless::spsc::{Producer, Queue};
use heapless::{String, Vec};

/// The times of the edges seen in one window, in ticks.
type Window = Vec<u16, 12>;

/// What both interrupts share.
struct Counter {
    window: Window,
    closed: Producer<'static, Window>,
    lost: u16,
    /// The input: a shift register with feedback, as a real sensor is noisy.
    signal: u16,
    now: u16,
}

static COUNTER: Mutex<RefCell<Option<Counter>>> = Mutex::new(RefCell::new(None));

/// The next state of the input. Runs from RAM, as on a real part does what must not wait for the flash.
#[unsafe(link_section = ".data.shift")]
#[inline(never)]
fn shift(state: u16) -> u16 {
    let feedback = (state ^ state >> 2 ^ state >> 3 ^ state >> 5) & 1;
    state >> 1 | feedback << 15
}

/// The same from flash: the same code, but not the same function.
#[inline(never)]
fn shift_in_flash(state: u16) -> u16 {
    let feedback = (state ^ state >> 2 ^ state >> 3 ^ state >> 5) & 1;
    state >> 1 | feedback << 15
}

/// The sampling clock: a falling edge of the signal is a pulse, and every 32 ticks end a window.
#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let mut counter = COUNTER.borrow_ref_mut(cs);
        let Some(counter) = counter.as_mut() else { return };
        let before = counter.signal & 1;
        counter.signal = shift(counter.signal);
        counter.now = counter.now.wrapping_add(1);
        if before == 1 && counter.signal & 1 == 0 && counter.window.push(counter.now).is_err() {
            counter.lost += 1;
        }
        if counter.now % 32 == 0 {
            SCB::set_pendsv();
        }
    });
}

/// Hands a full window to the main loop; lower in priority than the clock would be where the hardware is real.
#[exception]
fn PendSV() {
    critical_section::with(|cs| {
        if let Some(counter) = COUNTER.borrow_ref_mut(cs).as_mut() {
            let window = core::mem::take(&mut counter.window);
            if counter.closed.enqueue(window).is_err() {
                counter.lost += 1;
            }
        }
    });
}

/// Hertz with one decimal, from ticks of 1/1000 s.
struct Rate {
    periods: u32,
    ticks: u32,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.ticks == 0 {
            return f.pad("no rate");
        }
        let tenths = self.periods * 10_000 / self.ticks;
        let mut text = String::<12>::new();
        fmt::write(&mut text, format_args!("{}.{} Hz", tenths / 10, tenths % 10))?;
        f.pad(&text)
    }
}

fn rate(window: &[u16]) -> Rate {
    match window {
        [first, .., last] => Rate {
            periods: window.len() as u32 - 1,
            ticks: u32::from(last.wrapping_sub(*first)),
        },
        _ => Rate { periods: 0, ticks: 0 },
    }
}

#[entry]
fn main() -> ! {
    static mut QUEUE: Queue<Window, 4> = Queue::new();
    let (closed, mut windows) = QUEUE.split();
    critical_section::with(|cs| {
        let counter = Counter {
            window: Vec::new(),
            closed,
            lost: 0,
            signal: 0xace1,
            now: 0,
        };
        COUNTER.replace(cs, Some(counter));
    });
    let mut timer = cortex_m::Peripherals::take().expect("taken once").SYST;
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(20_000);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
    let mut total = 0;
    for number in 1..=6 {
        let window = next(&mut timer, || windows.dequeue());
        total += window.len();
        say!(
            "window {number}: {:2} pulses {:>9} {:?}",
            window.len(),
            rate(&window),
            window
        );
    }
    timer.disable_counter();
    let lost = critical_section::with(|cs| COUNTER.borrow_ref(cs).as_ref().map(|counter| counter.lost));
    say!("{total} pulses, {lost:?} lost");
    for (place, shift) in [("ram", shift as fn(u16) -> u16), ("flash", shift_in_flash)] {
        say!("{place}: {:04x}, {}", shift(0xace1), shift as usize >= 0x2000_0000);
    }
    if cfg!(feature = "panic") {
        let first = [lost][total];
        panic!("there is no {total}th of one: {first:?}");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}

/// Waits for a window, and stops the clock while it is printed, which takes the host as long as it likes.
fn next(timer: &mut SYST, mut dequeue: impl FnMut() -> Option<Window>) -> Window {
    timer.enable_counter();
    loop {
        if let Some(window) = dequeue() {
            timer.disable_counter();
            return window;
        }
    }
}
