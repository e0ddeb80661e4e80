//! A sensor hub in embassy tasks: the machine timer paces a sampler, alarm rules of several kinds stand behind `dyn`, a
//! software interrupt acknowledges each alarm, and everything is told to the host in CBOR.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use board::say;
use core::fmt::Debug;
use core::sync::atomic::{AtomicU32, Ordering};
use embassy_executor::{Executor, Spawner};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use heapless::HistoryBuf;
use minicbor::{CborLen, Decode, Encode};
use riscv_rt::{core_interrupt, entry};

const SAMPLES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode, CborLen)]
struct Sample {
    #[n(0)]
    tick: u32,
    #[n(1)]
    celsius: f32,
    #[n(2)]
    pascal: i32,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode, CborLen)]
enum Alarm {
    #[n(0)]
    Above(#[n(0)] Level<f32>),
    #[n(1)]
    Below(#[n(0)] Level<i32>),
    #[n(2)]
    Unsteady {
        #[n(0)]
        spread: f32,
        #[n(1)]
        history: Vec<f32>,
    },
    #[n(3)]
    Silent(#[n(0)] Option<String>),
}

#[derive(Debug, Clone, PartialEq, Encode, Decode, CborLen)]
struct Level<V> {
    #[n(0)]
    limit: V,
    #[n(1)]
    seen: V,
}

/// What the sampler has for the speaker, which alone prints: so the order of the lines does not hang on the clock.
enum News {
    Sample(Sample),
    Alarm { tick: u32, rule: String, alarm: Alarm },
}

/// What an alarm may look at.
trait Rule {
    fn name(&self) -> &str;
    fn judge(&mut self, sample: &Sample) -> Option<Alarm>;
}

/// Raises an alarm once a field passes its limit, and is quiet until it has come back.
struct Threshold<V> {
    name: &'static str,
    limit: V,
    field: fn(&Sample) -> V,
    passes: fn(V, V) -> bool,
    alarm: fn(Level<V>) -> Alarm,
    raised: bool,
}

impl<V: Copy> Rule for Threshold<V> {
    fn name(&self) -> &str {
        self.name
    }

    fn judge(&mut self, sample: &Sample) -> Option<Alarm> {
        let seen = (self.field)(sample);
        let passes = (self.passes)(seen, self.limit);
        let first = passes && !self.raised;
        self.raised = passes;
        first.then(|| {
            (self.alarm)(Level {
                limit: self.limit,
                seen,
            })
        })
    }
}

/// Raises an alarm when the last `N` temperatures lie far apart.
struct Steadiness<const N: usize> {
    last: HistoryBuf<f32, N>,
    spread: f32,
}

impl<const N: usize> Rule for Steadiness<N> {
    fn name(&self) -> &str {
        "steadiness"
    }

    fn judge(&mut self, sample: &Sample) -> Option<Alarm> {
        self.last.write(sample.celsius);
        let (low, high) = self
            .last
            .iter()
            .fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        if !self.last.is_full() || high - low < self.spread {
            return None;
        }
        let history = self.last.oldest_ordered().copied().collect();
        self.last.clear();
        Some(Alarm::Unsteady {
            spread: high - low,
            history,
        })
    }
}

fn rules() -> [Box<dyn Rule + Send>; 4] {
    [
        Box::new(Threshold {
            name: "hot",
            limit: 27.5,
            field: |sample| sample.celsius,
            passes: |seen, limit| seen > limit,
            alarm: Alarm::Above,
            raised: false,
        }),
        Box::new(Threshold {
            name: "low pressure",
            limit: 98_000,
            field: |sample| sample.pascal,
            passes: |seen, limit| seen < limit,
            alarm: Alarm::Below,
            raised: false,
        }),
        Box::new(Steadiness::<4> {
            last: HistoryBuf::new(),
            spread: 6.0,
        }),
        Box::new(Steadiness::<7> {
            last: HistoryBuf::new(),
            spread: 8.0,
        }),
    ]
}

/// Says what a value is in CBOR and whether it can be read back.
fn tell<T>(what: &str, value: &T)
where
    T: Encode<()> + for<'a> Decode<'a, ()> + CborLen<()> + PartialEq + Debug,
{
    let Ok(bytes) = minicbor::to_vec(value) else {
        return say!("{what}: {value:?} cannot be encoded");
    };
    let foreseen = minicbor::len(value);
    match minicbor::decode::<T>(&bytes) {
        Ok(back) if back == *value => {
            say!(
                "{what}: {} of {foreseen} bytes {:08x} {back:?}",
                bytes.len(),
                board::fingerprint(&bytes)
            );
        }
        Ok(back) => say!("{what}: {value:?} came back as {back:?}"),
        Err(error) => say!("{what}: {value:?} did not come back: {error}"),
    }
}

static TICK: Signal<CriticalSectionRawMutex, u32> = Signal::new();
static NEWS: Channel<CriticalSectionRawMutex, News, 3> = Channel::new();
static ACKNOWLEDGED: AtomicU32 = AtomicU32::new(0);

/// The core-local interruptor of QEMU's machine virt.
mod clint {
    const BASE: usize = 0x0200_0000;

    /// Raises or withdraws the software interrupt.
    pub fn software(raised: bool) {
        // SAFETY: the register is there on this machine, and a write of it does nothing else.
        unsafe { core::ptr::write_volatile(BASE as *mut u32, u32::from(raised)) }
    }

    /// Lets the timer interrupt come `ticks` from now, or withdraws it for good.
    pub fn timer(ticks: Option<u64>) {
        // SAFETY: as above; a carry between the two halves of the clock only makes one tick longer.
        unsafe {
            let now = u64::from(core::ptr::read_volatile((BASE + 0xbff8) as *const u32))
                | u64::from(core::ptr::read_volatile((BASE + 0xbffc) as *const u32)) << 32;
            let at = ticks.map_or(u64::MAX, |ticks| now + ticks);
            core::ptr::write_volatile((BASE + 0x4004) as *mut u32, u32::MAX);
            core::ptr::write_volatile((BASE + 0x4000) as *mut u32, at as u32);
            core::ptr::write_volatile((BASE + 0x4004) as *mut u32, (at >> 32) as u32);
        }
    }
}

#[core_interrupt(riscv::interrupt::Interrupt::MachineTimer)]
fn timer_interrupt() {
    clint::timer(None);
    TICK.signal(1);
}

#[core_interrupt(riscv::interrupt::Interrupt::MachineSoft)]
fn software_interrupt() {
    clint::software(false);
    ACKNOWLEDGED.store(ACKNOWLEDGED.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Takes a sample at each tick and puts it to the rules.
#[embassy_executor::task]
async fn sampler() {
    let mut rules = rules();
    let mut noise = 0x2545_f491_u32;
    for tick in 0..SAMPLES as u32 {
        clint::timer(Some(1_000));
        TICK.wait().await;
        // A linear congruential generator, so that every run sees the same weather.
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let sample = Sample {
            tick,
            celsius: 20.0 + (noise >> 28) as f32 * 0.625,
            pascal: 96_000 + (noise >> 16 & 0xfff) as i32,
        };
        if tick % 8 == 0 {
            NEWS.send(News::Sample(sample)).await;
        }
        for rule in &mut rules {
            if let Some(alarm) = rule.judge(&sample) {
                let rule = rule.name().into();
                NEWS.send(News::Alarm { tick, rule, alarm }).await;
            }
        }
    }
    let end = Alarm::Silent(Some("no more samples".into()));
    NEWS.send(News::Alarm {
        tick: SAMPLES as u32,
        rule: "end".into(),
        alarm: end,
    })
    .await;
}

/// Tells the host of all news, and ends the run after the last.
#[embassy_executor::task]
async fn speaker() {
    let mut log: VecDeque<(u32, Alarm)> = VecDeque::new();
    loop {
        let (tick, rule, alarm) = match NEWS.receive().await {
            News::Sample(sample) => {
                tell("sample", &sample);
                continue;
            }
            News::Alarm { tick, rule, alarm } => (tick, rule, alarm),
        };
        say!("tick {tick}: {rule}");
        tell("alarm", &alarm);
        clint::software(true);
        let last = matches!(alarm, Alarm::Silent(_));
        log.push_back((tick, alarm));
        if log.len() > 4 {
            log.pop_front();
        }
        if last {
            break;
        }
    }
    let log: Vec<_> = log.into();
    tell("log", &log);
    tell("ticks", &log.iter().map(|(tick, _)| Some(*tick)).collect::<Vec<_>>());
    say!("{} alarms acknowledged", ACKNOWLEDGED.load(Ordering::Relaxed));
    if cfg!(feature = "panic") {
        panic!("asked to panic after {} alarms", log.len());
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}

#[entry]
fn main() -> ! {
    board::heap!(32 * 1024);
    say!("hub: {SAMPLES} samples");
    // SAFETY: the handlers above are ready, and nothing is shared with them but atomics and critical sections.
    unsafe {
        riscv::register::mie::set_mtimer();
        riscv::register::mie::set_msoft();
        riscv::interrupt::enable();
    }
    let executor = Box::leak(Box::new(Executor::new()));
    executor.run(start)
}

fn start(spawner: Spawner) {
    spawner.spawn(sampler().expect("spawned once"));
    spawner.spawn(speaker().expect("spawned once"));
}
