//! A tour of what folding must not change: generic collections, trait objects,
//! closures, formatting, threads, panics that are caught, drops in order.

mod plants;
mod shapes;
mod stock;
mod tools;

use std::panic;
use std::sync::{Arc, Mutex};

fn main() {
    println!("hello, folded world");
    stock_of_everything();
    shapes::tour();
    threads();
    panics();
}

/// The same warehouse for six types of the same size: six copies in a plain build.
fn stock_of_everything() {
    println!("-- stock");
    plants::fill();
    tools::fill();
    let mut lines = Vec::new();
    stock::sell::<u64>("bolts", &[40, 7, 19], &mut lines);
    stock::sell::<i64>("nuts", &[-4, 70, 12], &mut lines);
    stock::sell::<usize>("washers", &[3, 3, 3], &mut lines);
    stock::sell::<isize>("springs", &[9, -9, 90], &mut lines);
    for line in lines {
        println!("{line}");
    }
}

fn threads() {
    println!("-- threads");
    let total = Arc::new(Mutex::new(0u64));
    let workers: Vec<_> = (1..=4u64)
        .map(|n| {
            let total = Arc::clone(&total);
            std::thread::spawn(move || {
                for i in 0..1000 {
                    *total.lock().unwrap() += n * i % 7;
                }
                n
            })
        })
        .collect();
    let ended: Vec<u64> = workers.into_iter().map(|w| w.join().unwrap()).collect();
    println!("threads {ended:?} counted {}", total.lock().unwrap());
}

struct Leaves<'a>(&'a str, &'a Mutex<Vec<String>>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0.to_string());
    }
}

/// Unwinds through whatever the folded functions have become.
fn panics() {
    println!("-- panics");
    panic::set_hook(Box::new(|_| {}));
    let gone = Mutex::new(Vec::new());
    for unlucky in 0..4 {
        let result = panic::catch_unwind(|| {
            let _first = Leaves("first", &gone);
            plants::risky(unlucky, &gone);
            let _second = Leaves("second", &gone);
            tools::risky(unlucky, &gone);
        });
        let told = match result {
            Ok(()) => "went well".to_string(),
            Err(e) => e.downcast_ref::<String>().cloned().unwrap_or_default(),
        };
        println!(
            "{unlucky}: {told}; dropped {:?}",
            std::mem::take(&mut *gone.lock().unwrap())
        );
    }
}
