//! User scripts on a device: the rhai engine, with types and functions of the firmware's own that scripts may use.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use board::say;
use core::cell::RefCell;
use cortex_m_rt::{entry, exception};
use rhai::packages::{CorePackage, MoreStringPackage, Package};
use rhai::{Array, Engine, Scope};

/// An output that scripts drive; its past can be looked at.
#[derive(Clone, Default)]
struct Valve(Rc<RefCell<Vec<(i32, i32)>>>);

impl Valve {
    fn set(&mut self, at: i32, percent: i32) {
        self.0.borrow_mut().push((at, percent.clamp(0, 100)));
    }

    fn open(&mut self) -> i32 {
        self.0.borrow().last().map_or(0, |(_, percent)| *percent)
    }
}

const SCRIPTS: &[(&str, &str)] = &[
    (
        "control",
        "let error = 0; for t in 0..8 { let now = sensor(t); error = now - 20; if error > 4 { valve.set(t, error * 12); } else if valve.open > 0 { valve.set(t, valve.open - 25); } } valve.open",
    ),
    (
        "recursion",
        "fn even(n) { if n == 0 { true } else { odd(n - 1) } } fn odd(n) { if n == 0 { false } else { even(n - 1) } } even(10) && !odd(6)",
    ),
    (
        "closures",
        "let by = 3; let list = []; for i in 0..6 { list.push(i); } list.map(|x| x * by).filter(|x| x % 2 == 0)",
    ),
    (
        "objects",
        r#"let log = #{ name: "pump", hours: [3, 5, 8] }; log.total = log.hours.reduce(|sum, h| (sum ?? 0) + h); log.name + ":" + log.total"#,
    ),
    (
        "strings",
        r#"let words = "the quick brown fox".split(" "); let out = ""; while !words.is_empty() { out += words.pop().to_upper() + "."; } out"#,
    ),
    (
        "switch",
        "let n = 0; for x in [1, 7, 42, -3] { n += switch x { 1 => 10, 7 | 8 => 20, 9..=50 => 30, _ => x }; } n",
    ),
    ("float", "let x = 2.0; for i in 0..4 { x = (x + 2.0 / x) / 2.0; } x"),
    (
        "caught",
        r#"let out = ""; try { throw "too hot"; } catch (reason) { out = "caught " + reason; } out"#,
    ),
    ("syntax", "let x = ; 3"),
    ("type", r#"1 + [2] * "three""#),
    ("missing", "sensor(1, 2, 3)"),
    ("endless", "loop { }"),
    ("overflow", "2147483647 + 1"),
];

#[exception]
fn SVCall() {
    say!("supervisor call");
}

#[entry]
fn main() -> ! {
    board::heap!(512 * 1024);
    let mut engine = Engine::new_raw();
    CorePackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    rhai::packages::BasicArrayPackage::new().register_into_engine(&mut engine);
    rhai::packages::BasicMapPackage::new().register_into_engine(&mut engine);
    engine.set_max_operations(5_000);
    engine.on_print(|text| say!("script says {text}"));
    engine
        .register_type_with_name::<Valve>("Valve")
        .register_fn("set", Valve::set)
        .register_get("open", Valve::open);
    engine.register_fn("sensor", |t: i32| 18 + (t * 7) % 11);
    let valve = Valve::default();
    let mut failures = 0;
    for (name, text) in SCRIPTS {
        let mut scope = Scope::new();
        scope.push("valve", valve.clone());
        match engine.eval_with_scope::<rhai::Dynamic>(&mut scope, text) {
            Ok(value) if value.is::<Array>() => say!("{name}: {:?}", value.into_array()),
            Ok(value) => say!("{name}: {value}"),
            Err(error) => {
                failures += 1;
                say!("{name}: {error}");
            }
        }
    }
    say!("valve: {:?}", valve.0.borrow());
    // SAFETY: the handler returns as from any function.
    unsafe { core::arch::asm!("svc #0") };
    if cfg!(feature = "panic") {
        let text: String = engine.eval("40 + 2").expect("asked to panic");
        say!("{text} after {failures} failures");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
