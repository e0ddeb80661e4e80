//! A calculator: one parser and evaluator, monomorphised for integers, floating-point and fixed-point numbers. The
//! generic timer's interrupt tells when the next line may be read.
#![no_main]
#![no_std]

extern crate alloc;

use aarch64_rt::{ExceptionHandlers, RegisterStateRef, entry, exception_handlers};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use board::say;
use core::fmt::{self, Debug, Display};
use core::iter::Peekable;
use core::str::Chars;
use core::sync::atomic::{AtomicU32, Ordering};

/// A number that the calculator knows.
trait Number: Copy + Debug + Display + PartialOrd + 'static {
    const NAME: &'static str;
    fn parse(text: &str) -> Option<Self>;
    fn apply(operator: char, left: Self, right: Self) -> Option<Self>;
}

impl Number for i64 {
    const NAME: &'static str = "integer";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn apply(operator: char, left: Self, right: Self) -> Option<Self> {
        match operator {
            '+' => left.checked_add(right),
            '-' => left.checked_sub(right),
            '*' => left.checked_mul(right),
            '/' => left.checked_div(right),
            _ => None,
        }
    }
}

impl Number for f64 {
    const NAME: &'static str = "float";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn apply(operator: char, left: Self, right: Self) -> Option<Self> {
        let result = match operator {
            '+' => left + right,
            '-' => left - right,
            '*' => left * right,
            '/' => left / right,
            _ => return None,
        };
        result.is_finite().then_some(result)
    }
}

/// Sixteen bits before the point and sixteen behind.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Fixed(i32);

impl Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let thousandths = ((magnitude & 0xffff) * 1000 + 0x8000) >> 16;
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{thousandths:03}", magnitude >> 16)
    }
}

impl Number for Fixed {
    const NAME: &'static str = "fixed";

    fn parse(text: &str) -> Option<Self> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
        let whole: i32 = whole.parse().ok()?;
        let scale = 10_i64.checked_pow(rest.len() as u32)?;
        let part = (rest.parse::<i64>().ok()? << 16) / scale;
        whole.checked_mul(1 << 16)?.checked_add(part as i32).map(Fixed)
    }

    fn apply(operator: char, left: Self, right: Self) -> Option<Self> {
        let (left, right) = (i64::from(left.0), i64::from(right.0));
        let result = match operator {
            '+' => left + right,
            '-' => left - right,
            '*' => left * right >> 16,
            '/' => (left << 16).checked_div(right)?,
            _ => return None,
        };
        i32::try_from(result).ok().map(Fixed)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Fault {
    Unexpected(Option<char>),
    NotANumber(String),
    Unknown(String),
    Undefined {
        operator: char,
        left: String,
        right: String,
    },
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Unexpected(Some(char)) => write!(f, "unexpected {char:?}"),
            Fault::Unexpected(None) => f.write_str("unexpected end"),
            Fault::NotANumber(text) => write!(f, "{text:?} is no number of this kind"),
            Fault::Unknown(name) => write!(f, "unknown name {name}"),
            Fault::Undefined { operator, left, right } => write!(f, "{left} {operator} {right} has no result"),
        }
    }
}

/// A parsed expression, ready to be evaluated.
trait Term<N>: Debug {
    fn value(&self, names: &BTreeMap<String, N>) -> Result<N, Fault>;
}

#[derive(Debug)]
struct Literal<N>(N);

#[derive(Debug)]
struct Name(String);

#[derive(Debug)]
struct Operation<N> {
    operator: char,
    left: Box<dyn Term<N>>,
    right: Box<dyn Term<N>>,
}

impl<N: Number> Term<N> for Literal<N> {
    fn value(&self, _: &BTreeMap<String, N>) -> Result<N, Fault> {
        Ok(self.0)
    }
}

impl<N: Number> Term<N> for Name {
    fn value(&self, names: &BTreeMap<String, N>) -> Result<N, Fault> {
        names
            .get(&self.0)
            .copied()
            .ok_or_else(|| Fault::Unknown(self.0.clone()))
    }
}

impl<N: Number> Term<N> for Operation<N> {
    fn value(&self, names: &BTreeMap<String, N>) -> Result<N, Fault> {
        let (left, right) = (self.left.value(names)?, self.right.value(names)?);
        N::apply(self.operator, left, right).ok_or_else(|| Fault::Undefined {
            operator: self.operator,
            left: alloc::format!("{left}"),
            right: alloc::format!("{right}"),
        })
    }
}

/// `sum = product (("+" | "-") product)*`, and so on down to numbers, names and parentheses.
fn sum<N: Number>(text: &mut Peekable<Chars>) -> Result<Box<dyn Term<N>>, Fault> {
    operations(text, "+-", |text| operations(text, "*/", atom))
}

fn operations<N: Number>(
    text: &mut Peekable<Chars>,
    operators: &str,
    operand: fn(&mut Peekable<Chars>) -> Result<Box<dyn Term<N>>, Fault>,
) -> Result<Box<dyn Term<N>>, Fault> {
    let mut left = operand(text)?;
    while let Some(operator) = text.next_if(|&char| operators.contains(char)) {
        left = Box::new(Operation {
            operator,
            left,
            right: operand(text)?,
        });
    }
    Ok(left)
}

fn atom<N: Number>(text: &mut Peekable<Chars>) -> Result<Box<dyn Term<N>>, Fault> {
    match text.peek() {
        Some('(') => {
            text.next();
            let inside = sum(text)?;
            match text.next() {
                Some(')') => Ok(inside),
                other => Err(Fault::Unexpected(other)),
            }
        }
        Some(char) if char.is_alphanumeric() => {
            let mut word = String::new();
            while let Some(char) = text.next_if(|&char| char.is_alphanumeric() || char == '.') {
                word.push(char);
            }
            match N::parse(&word) {
                Some(number) => Ok(Box::new(Literal(number))),
                None if word.starts_with(|char: char| char.is_ascii_digit()) => Err(Fault::NotANumber(word)),
                None => Ok(Box::new(Name(word))),
            }
        }
        other => Err(Fault::Unexpected(other.copied())),
    }
}

/// Evaluates lines like `x=a*(b+1)`, keeps what they name, and prints the results in order.
fn calculate<N: Number>(lines: &[&str]) -> Vec<(String, N)> {
    let mut names = BTreeMap::new();
    for line in lines {
        wait_for_tick();
        let (name, expression) = line.split_once('=').unwrap_or(("it", line));
        let mut text = expression.chars().peekable();
        let result = sum::<N>(&mut text).and_then(|term| match text.next() {
            None => term.value(&names).map(|value| (term, value)),
            rest => Err(Fault::Unexpected(rest)),
        });
        match result {
            Ok((term, value)) => {
                say!("{:8} {name} = {value} from {term:?}", N::NAME);
                names.insert(name.into(), value);
            }
            Err(fault) => say!("{:8} {line}: {fault}", N::NAME),
        }
    }
    let mut sorted: Vec<_> = names.into_iter().collect();
    sorted.sort_by(|(_, left), (_, right)| right.partial_cmp(left).unwrap_or(core::cmp::Ordering::Equal));
    say!("{:8} {sorted:?}", N::NAME);
    sorted
}

const LINES: &[&str] = &[
    "7/2",
    "a=6*(7+it)",
    "b=a-1/(3-1)*2.5",
    "c=a*a*a*a*a*a*a",
    "a/(b-b)",
    "d=(1+2",
    "e=1 + 2",
    "f=q+1",
    "g=b*b/3",
    "x=12ab",
];

/// Interrupts that have come.
static TICKS: AtomicU32 = AtomicU32::new(0);

struct Handlers;
exception_handlers!(Handlers);

impl ExceptionHandlers for Handlers {
    extern "C" fn irq_current(_: RegisterStateRef) {
        TICKS.fetch_add(1, Ordering::Release);
        timer::stop();
        gic::end();
    }

    extern "C" fn sync_current(_: RegisterStateRef) {
        board::fault_seen();
    }
}

fn wait_for_tick() {
    let before = TICKS.load(Ordering::Acquire);
    timer::start();
    while TICKS.load(Ordering::Acquire) == before {
        core::hint::spin_loop();
    }
}

/// The physical timer of the processor.
mod timer {
    use core::arch::asm;

    pub fn start() {
        // SAFETY: the interrupt that this asks for has a handler.
        unsafe {
            asm!("msr cntp_tval_el0, {ticks}", "msr cntp_ctl_el0, {on}", ticks = in(reg) 50_000_u64, on = in(reg) 1_u64)
        }
    }

    pub fn stop() {
        // SAFETY: an interrupt less.
        unsafe { asm!("msr cntp_ctl_el0, {off}", off = in(reg) 0_u64) }
    }
}

/// The interrupt controller of QEMU's machine virt, a GICv2.
mod gic {
    const DISTRIBUTOR: usize = 0x0800_0000;
    const CPU: usize = 0x0801_0000;
    const TIMER: u32 = 30;

    fn write(address: usize, value: u32) {
        // SAFETY: the registers named above are there on this machine.
        unsafe { core::ptr::write_volatile(address as *mut u32, value) }
    }

    pub fn start() {
        write(DISTRIBUTOR, 1);
        write(DISTRIBUTOR + 0x100, 1 << TIMER);
        write(CPU + 4, 0xff);
        write(CPU, 1);
        // SAFETY: the handlers are installed by now.
        unsafe { core::arch::asm!("msr daifclr, #2") }
    }

    /// Takes and ends the interrupt that is being handled.
    pub fn end() {
        // SAFETY: as in `write`.
        let taken = unsafe { core::ptr::read_volatile((CPU + 0xc) as *const u32) };
        write(CPU + 0x10, taken);
    }
}

entry!(main);
fn main(_: u64, _: u64, _: u64, _: u64) -> ! {
    board::heap!(64 * 1024);
    gic::start();
    let results = calculate::<i64>(LINES).len() + calculate::<f64>(LINES).len() + calculate::<Fixed>(LINES).len();
    say!("{results} results in {} ticks", TICKS.load(Ordering::Acquire));
    if cfg!(feature = "panic") {
        panic!("asked to panic after {results} results");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
