//! Tools, by the piece.

use crate::stock::Stock;
use std::sync::Mutex;

#[inline(never)]
pub fn fill() {
    let mut stock: Stock<i32> = Stock::new();
    for (i, name) in ["file", "plane", "saw"].iter().enumerate() {
        let n = i as i32;
        stock.put(name, &[n * 3, n + 10, 25 - n, n * n]);
        while let Some(best) = stock.take(name) {
            if best < 9 {
                break;
            }
        }
    }
    println!("{}", stock.describe());
}

/// Two guards and a call that may panic between them.
#[inline(never)]
pub fn risky(unlucky: u32, gone: &Mutex<Vec<String>>) {
    let _outer = Note("outer", gone);
    let list: Vec<u32> = (0..unlucky + 2).collect();
    let _inner = Note("inner", gone);
    if list.iter().sum::<u32>() % 3 == 1 {
        panic!("{} is an unlucky number for {}", list.len(), module_path!());
    }
}

struct Note<'a>(&'a str, &'a Mutex<Vec<String>>);

impl Drop for Note<'_> {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(format!("{} of {}", self.0, module_path!()));
    }
}
