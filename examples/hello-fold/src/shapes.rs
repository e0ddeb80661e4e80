//! Trait objects: their vtables, and methods that come out the same.

use std::fmt;

trait Shape: fmt::Display {
    fn area(&self) -> f64;
    fn scale(&mut self, by: f64);
    fn corners(&self) -> usize {
        4
    }
}

macro_rules! box_like {
    ($($name:ident)*) => { $(
        struct $name {
            width: f64,
            height: f64,
        }
        impl Shape for $name {
            fn area(&self) -> f64 {
                self.width * self.height
            }
            fn scale(&mut self, by: f64) {
                self.width *= by;
                self.height *= by;
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), " of {:.1} by {:.1}"), self.width, self.height)
            }
        }
    )* };
}
box_like!(Door Window Table Shelf Picture);

pub fn tour() {
    println!("-- shapes");
    let mut all: Vec<Box<dyn Shape>> = vec![
        Box::new(Door {
            width: 0.9,
            height: 2.1,
        }),
        Box::new(Window {
            width: 1.2,
            height: 1.0,
        }),
        Box::new(Table {
            width: 1.6,
            height: 0.8,
        }),
        Box::new(Shelf {
            width: 0.8,
            height: 2.0,
        }),
        Box::new(Picture {
            width: 0.3,
            height: 0.4,
        }),
    ];
    for (i, shape) in all.iter_mut().enumerate() {
        shape.scale(1.0 + i as f64 / 10.0);
        println!("{shape}: area {:.2}, {} corners", shape.area(), shape.corners());
    }
}
