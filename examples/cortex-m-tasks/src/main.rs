//! A data logger in RTIC tasks: a timer takes samples, a queue carries them, a task keeps statistics, another encodes
//! what was gathered with postcard, and an interrupt raised by software brings commands.
//!
//! Text goes to standard error, defmt's frames to standard output.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::string::String as Text;
use alloc::vec::Vec as List;
use board::say;
use core::fmt::{self, Debug, Display};
use defmt_semihosting as _;
use heapless::{String, Vec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One message on the wire, whatever it carries.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Frame<T> {
    sequence: u32,
    body: T,
}

#[derive(Debug, PartialEq, Clone, Copy, Serialize, Deserialize, defmt::Format)]
pub struct Reading<V> {
    channel: u8,
    value: V,
}

#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
pub enum Command {
    Start { every_ms: u32 },
    Label(String<16>),
    Calibrate(Vec<(i16, i16), 4>),
    Stop,
}

/// What is kept of the readings: extremes, and the last few.
#[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
struct Summary<V, const LAST: usize> {
    low: V,
    high: V,
    last: Vec<V, LAST>,
}

impl<V: Copy + PartialOrd, const LAST: usize> Summary<V, LAST> {
    fn of(values: impl IntoIterator<Item = V>) -> Option<Self> {
        let mut values = values.into_iter();
        let first = values.next()?;
        let mut summary = Summary {
            low: first,
            high: first,
            last: Vec::new(),
        };
        let _ = summary.last.push(first);
        for value in values {
            if value < summary.low {
                summary.low = value;
            }
            if value > summary.high {
                summary.high = value;
            }
            if summary.last.is_full() {
                summary.last.remove(0);
            }
            let _ = summary.last.push(value);
        }
        Some(summary)
    }
}

impl<V: Display, const LAST: usize> Display for Summary<V, LAST> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:>6} .. {:<6} then", self.low, self.high)?;
        self.last.iter().try_for_each(|value| write!(f, " {value}"))
    }
}

/// Encodes a frame, prints what it became, and reads it back.
fn round_trip<T>(sequence: u32, body: T) -> usize
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let frame = Frame { sequence, body };
    let mut bytes = match postcard::to_allocvec_cobs(&frame) {
        Ok(bytes) => bytes,
        Err(error) => panic!("encode {frame:?}: {error}"),
    };
    let length = bytes.len();
    let print = board::fingerprint(&bytes);
    match postcard::from_bytes_cobs::<Frame<T>>(&mut bytes) {
        Ok(back) if back == frame => say!("{length:3} bytes {print:08x} {frame:?}"),
        Ok(back) => say!("{frame:?} came back as {back:?}"),
        Err(error) => say!("{frame:?} did not come back: {error}"),
    }
    length
}

/// Whatever the tasks have gathered goes out in several shapes.
fn send_all(readings: &[Reading<i16>], commands: &[Command]) -> usize {
    let values = || readings.iter().map(|reading| reading.value);
    let mut sent = 0;
    for (sequence, command) in (1..).zip(commands) {
        sent += round_trip(sequence, command.clone());
    }
    if let Some(summary) = Summary::<i16, 4>::of(values()) {
        say!("summary {summary}");
        sent += round_trip(10, summary);
    }
    if let Some(summary) = Summary::<i64, 8>::of(values().map(i64::from)) {
        say!("summary {summary}");
        sent += round_trip(11, summary);
    }
    if let Some(summary) = Summary::<f32, 3>::of(values().map(|value| f32::from(value) / 16.0)) {
        say!("summary {summary}");
        sent += round_trip(12, summary);
    }
    let mut channels: BTreeMap<Text, List<i16>> = BTreeMap::new();
    for reading in readings {
        channels
            .entry(alloc::format!("channel-{}", reading.channel))
            .or_default()
            .push(reading.value);
    }
    sent += round_trip(20, channels);
    sent += round_trip(21, readings.first().copied());
    sent += round_trip(
        22,
        readings.last().map(|last| Reading {
            channel: last.channel,
            value: u64::MAX,
        }),
    );
    sent += round_trip(23, Result::<[u8; 4], Text>::Err("no calibration".into()));
    sent
}

#[rtic::app(device = lm3s6965, dispatchers = [SSI0, UART2])]
mod app {
    use super::*;
    use cortex_m::peripheral::{SYST, syst::SystClkSource};
    use rtic_sync::channel::{Receiver, Sender};
    use rtic_sync::make_channel;

    const SAMPLES: usize = 12;
    const QUEUE: usize = 4;

    #[shared]
    struct Shared {
        readings: Vec<Reading<i16>, SAMPLES>,
        commands: Vec<Command, 4>,
    }

    #[local]
    struct Local {
        timer: SYST,
        samples: Sender<'static, Reading<i16>, QUEUE>,
        noise: u32,
        lines: core::str::Lines<'static>,
    }

    #[init]
    fn init(cx: init::Context) -> (Shared, Local) {
        board::heap!(16 * 1024);
        let (samples, queue) = make_channel!(Reading<i16>, QUEUE);
        let mut timer = cx.core.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(12_000);
        timer.clear_current();
        timer.enable_interrupt();
        if collect::spawn(queue).is_err() {
            panic!("the collector runs already");
        }
        say!("logger: {SAMPLES} samples through a queue of {QUEUE}");
        rtic::pend(lm3s6965::Interrupt::UART0);
        let lines = "start 250\nlabel boiler\ncalibrate -3:5,0:0,7:-9\nreset\nstop".lines();
        (
            Shared {
                readings: Vec::new(),
                commands: Vec::new(),
            },
            Local {
                timer,
                samples,
                noise: 0x1234_5678,
                lines,
            },
        )
    }

    /// Nothing below waits in a loop; without this the core would sleep, and in QEMU a sleeping core is slow to wake.
    #[idle]
    fn idle(_: idle::Context) -> ! {
        loop {
            cortex_m::asm::nop();
        }
    }

    /// The "serial port": each interrupt brings one command line, and the last one starts the timer.
    #[task(binds = UART0, priority = 2, local = [lines, timer], shared = [commands])]
    fn serial(mut cx: serial::Context) {
        let Some(text) = cx.local.lines.next() else {
            cx.local.timer.enable_counter();
            return;
        };
        match parse(text) {
            Ok(command) => {
                defmt::info!("command {=str} has {=usize} bytes", text, text.len());
                if cx.shared.commands.lock(|commands| commands.push(command)).is_err() {
                    say!("too many commands");
                }
            }
            Err(reason) => {
                defmt::warn!("{=str}: {=str}", text, reason);
                say!("`{text}`: {reason}");
            }
        }
        rtic::pend(lm3s6965::Interrupt::UART0);
    }

    /// The timer: one sample a tick.
    #[task(binds = SysTick, priority = 3, local = [samples, noise])]
    fn tick(cx: tick::Context) {
        if cx.local.samples.is_full() {
            return; // the collector is behind: the next tick brings the sample
        }
        // xorshift32, so that every run sees the same noise.
        *cx.local.noise ^= *cx.local.noise << 13;
        *cx.local.noise ^= *cx.local.noise >> 17;
        *cx.local.noise ^= *cx.local.noise << 5;
        let reading = Reading {
            channel: (*cx.local.noise >> 30) as u8,
            value: (*cx.local.noise & 0x7ff) as i16 - 1024,
        };
        let _ = cx.local.samples.try_send(reading); // fails once the collector has all it wants
    }

    #[task(priority = 2, shared = [readings])]
    async fn collect(mut cx: collect::Context, mut queue: Receiver<'static, Reading<i16>, QUEUE>) {
        while let Ok(reading) = queue.recv().await {
            defmt::debug!("{}", reading);
            let full = cx.shared.readings.lock(|readings| {
                let _ = readings.push(reading);
                readings.is_full()
            });
            if full {
                break;
            }
        }
        if send::spawn().is_err() {
            panic!("the sender runs already");
        }
    }

    #[task(priority = 1, shared = [readings, commands])]
    async fn send(cx: send::Context) {
        let readings = cx.shared.readings;
        let commands = cx.shared.commands;
        let (readings, commands) = (readings, commands).lock(|readings, commands| (readings.clone(), commands.clone()));
        let sent = send_all(&readings, &commands);
        defmt::info!("sent {=usize} bytes for {=[?]}", sent, readings.as_slice());
        say!("sent {sent} bytes");
        finish(sent)
    }
}

fn parse(text: &str) -> Result<Command, &'static str> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "start" => rest
            .parse()
            .map(|every_ms| Command::Start { every_ms })
            .map_err(|_| "not a number"),
        "label" => String::try_from(rest).map(Command::Label).map_err(|_| "too long"),
        "calibrate" => {
            let mut points = Vec::new();
            for pair in rest.split(',') {
                let (at, by) = pair.split_once(':').ok_or("no colon")?;
                let point = (
                    at.parse().map_err(|_| "not a number")?,
                    by.parse().map_err(|_| "not a number")?,
                );
                points.push(point).map_err(|_| "too many points")?;
            }
            Ok(Command::Calibrate(points))
        }
        "stop" => Ok(Command::Stop),
        _ => Err("unknown command"),
    }
}

fn finish(sent: usize) -> ! {
    if cfg!(feature = "panic") {
        panic!("asked to panic after {sent} bytes");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
