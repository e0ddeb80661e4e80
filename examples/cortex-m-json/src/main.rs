//! A configuration store. Every document goes through serde_json, through serde_json's `Value` and, where it has no
//! maps and no heap, through serde-json-core: the same types, monomorphised for each.
#![no_main]
#![no_std]

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use board::say;
use core::fmt::Debug;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::SCB;
use cortex_m_rt::{entry, exception};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Device {
    id: u32,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    sensors: Vec<Sensor>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    building: String,
    floor: i8,
    grid_square: (char, u16),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Sensor {
    Thermometer { range: [f32; 2], curve: Vec<(f32, f32)> },
    Counter { wraps_at: u64 },
    Switch { inverted: bool },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Schedule {
    version: (u8, u8, u8),
    rules: BTreeMap<String, Vec<Rule>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    when: Condition,
    then: Action,
    #[serde(default)]
    otherwise: Option<Box<Action>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Condition {
    Always(bool),
    Every { seconds: u32 },
    Above { channel: u8, value: f64 },
    Any(Vec<Condition>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Action {
    Nothing,
    Set(u8, bool),
    Log(String),
    Sequence(Vec<Action>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Network<A> {
    addresses: Vec<A>,
    routes: BTreeMap<String, Option<A>>,
    limits: Limits<u16, i64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Limits<S, L> {
    soft: S,
    hard: L,
}

/// Fits without a heap.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Report<V> {
    name: heapless::String<16>,
    values: heapless::Vec<V, 6>,
    status: Result<u8, i16>,
    limits: Limits<Option<V>, V>,
}

/// Reads a document, and prints what stays of it after each way round.
fn through_both<T>(what: &str, text: &str)
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let document: T = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => return say!("{what}: {error}"),
    };
    say!("{what}: {document:?}");
    let compact = serde_json::to_vec(&document).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&document).unwrap_or_default();
    say!("{what}: {} bytes {:08x}", compact.len(), board::fingerprint(&compact));
    say!(
        "{what}: {} bytes {:08x} pretty",
        pretty.len(),
        board::fingerprint(pretty.as_bytes())
    );
    let again = serde_json::from_slice::<T>(&compact).is_ok_and(|again| again == document);
    let value = serde_json::to_value(&document).unwrap_or_default();
    let tree = value.to_string();
    let back = serde_json::from_value::<T>(value);
    match back {
        Ok(back) => say!(
            "{what}: same {again}, by value {} ({} bytes)",
            back == document,
            tree.len()
        ),
        Err(error) => say!("{what}: same {again}, by value {error}"),
    }
}

/// The same without a heap.
fn through_core<T>(what: &str, text: &str)
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    match serde_json_core::from_str::<T>(text) {
        Ok((document, used)) => {
            let mut bytes = [0; 256];
            let length = serde_json_core::to_slice(&document, &mut bytes).unwrap_or(0);
            say!("{what}: {used} read, {length} written: {document:?}");
            through_both::<T>(what, core::str::from_utf8(&bytes[..length]).unwrap_or_default());
        }
        Err(error) => say!("{what}: {error}"),
    }
}

const DEVICE: &str = r#"{
    "id": 17, "name": "boiler \u2116 1\n", "tags": {"owner": "works", "plan": "B"},
    "place": {"building": "north", "floor": -1, "gridSquare": ["K", 402]},
    "sensors": [
        {"kind": "thermometer", "range": [-40, 125.5], "curve": [[0, 0.25], [100, 99.5], [1e2, -1.5e-3]]},
        {"kind": "counter", "wraps_at": 18446744073709551615},
        {"inverted": true, "kind": "switch"}
    ]
}"#;

const SCHEDULE: &str = r#"{
    "version": [1, 4, 2],
    "rules": {
        "night": [{"when": {"seconds": 3600}, "then": {"Log": "still here"}}],
        "heat": [
            {"when": {"channel": 2, "value": 71.25}, "then": {"Set": [4, false]}, "otherwise": {"Set": [4, true]}},
            {"when": [true, {"seconds": 5}], "then": {"Sequence": ["Nothing", {"Log": "\"quoted\""}, {"Set": [1, true]}]}}
        ]
    }
}"#;

fn documents() {
    through_both::<Device>("device", DEVICE);
    through_both::<Schedule>("schedule", SCHEDULE);
    through_both::<Network<String>>(
        "network",
        r#"{"addresses": ["fe80::1", "10.0.0.7"], "routes": {"default": "10.0.0.1", "lab": null}, "limits": {"soft": 8, "hard": -1}}"#,
    );
    through_both::<Network<[u8; 4]>>(
        "network 4",
        r#"{"addresses": [[10, 0, 0, 7]], "routes": {"default": [10, 0, 0, 1]}, "limits": {"soft": 65535, "hard": 9e0}}"#,
    );
    through_both::<Vec<Option<Limits<f32, f64>>>>(
        "limits",
        r#"[null, {"soft": 0.1, "hard": 0.1}, {"soft": 3, "hard": 1e300}]"#,
    );

    through_core::<Report<i32>>(
        "report",
        r#"{"name": "pressure", "values": [1, -2, 2147483647], "status": {"Ok": 3}, "limits": {"soft": null, "hard": 9}}"#,
    );
    through_core::<Report<u8>>(
        "flags",
        r#"{"name": "flags", "values": [0, 255], "status": {"Err": -300}, "limits": {"soft": 1, "hard": 2}}"#,
    );
    through_core::<Report<f32>>(
        "level",
        r#"{"name": "level", "values": [0.5, -1.25, 1e9], "status": {"Ok": 0}, "limits": {"soft": 0.5, "hard": 2}}"#,
    );
}

/// Documents that are wrong in the ways that documents are.
fn refusals() {
    through_both::<Device>("no name", r#"{"id": 1, "sensors": []}"#);
    through_both::<Device>("bad kind", r#"{"id": 1, "name": "x", "sensors": [{"kind": "nose"}]}"#);
    through_both::<Schedule>(
        "extra",
        r#"{"version": [1, 2, 3], "rules": {"a": [{"when": true, "then": "Nothing", "or": 1}]}}"#,
    );
    through_both::<Network<[u8; 4]>>("range", r#"{"addresses": [[10, 0, 0, 700]]}"#);
    through_both::<Limits<i8, bool>>("type", r#"{"soft": 5, "hard": "yes"}"#);
    through_both::<Limits<i8, bool>>("cut", r#"{"soft": 5, "#);
    through_core::<Report<u8>>("overlong", r#"{"name": "a name of more than 16 bytes"}"#);
    through_core::<Report<u8>>("range", r#"{"name": "x", "values": [256]}"#);
}

/// How many documents the interrupt below was told of.
static SEEN: AtomicU32 = AtomicU32::new(0);

#[exception]
fn PendSV() {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

#[exception]
fn SVCall() {
    say!("supervisor call after {} interrupts", SEEN.load(Ordering::Relaxed));
}

#[entry]
fn main() -> ! {
    board::heap!(64 * 1024);
    for step in [documents, refusals] {
        step();
        SCB::set_pendsv();
        cortex_m::asm::isb();
    }
    // SAFETY: the handler returns as from any function.
    unsafe { core::arch::asm!("svc #0") };
    if cfg!(feature = "panic") {
        let missing = serde_json::from_str::<Device>("{}").expect_err("an empty device");
        panic!("asked to panic: {missing}");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
