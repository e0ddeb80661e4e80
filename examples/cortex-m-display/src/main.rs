//! A picture in a frame buffer, drawn by embedded-graphics in three colour types, and printed as far as text can.
#![no_main]
#![no_std]

use board::say;
use core::convert::Infallible;
use core::fmt::Write;
use cortex_m_rt::{entry, exception};
use embedded_graphics::mono_font::ascii::{FONT_5X8, FONT_6X10};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{BinaryColor, Gray4, Rgb565};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{
    Arc, Circle, CornerRadii, Ellipse, Line, Polyline, PrimitiveStyle, PrimitiveStyleBuilder, Rectangle,
    RoundedRectangle, Sector, StrokeAlignment, Triangle,
};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};
use heapless::String;

const WIDTH: usize = 72;
const HEIGHT: usize = 36;

struct Frame<C> {
    pixels: [C; WIDTH * HEIGHT],
    drawn: usize,
}

impl<C: PixelColor> OriginDimensions for Frame<C> {
    fn size(&self) -> Size {
        Size::new(WIDTH as u32, HEIGHT as u32)
    }
}

impl<C: PixelColor> DrawTarget for Frame<C> {
    type Color = C;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<C>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            if (0..WIDTH as i32).contains(&x) && (0..HEIGHT as i32).contains(&y) {
                self.pixels[y as usize * WIDTH + x as usize] = color;
                self.drawn += 1;
            }
        }
        Ok(())
    }
}

/// The same picture in whatever colours: dark, middle and light.
fn draw<C: PixelColor>(frame: &mut Frame<C>, [dark, middle, light]: [C; 3], font: &MonoFont) -> Result<(), Infallible> {
    let stroke = PrimitiveStyle::with_stroke(middle, 1);
    let fill = PrimitiveStyleBuilder::new()
        .fill_color(middle)
        .stroke_color(light)
        .stroke_width(2);
    let fill = fill.stroke_alignment(StrokeAlignment::Inside).build();
    frame.clear(dark)?;
    let border = Rectangle::new(Point::zero(), frame.size());
    RoundedRectangle::new(border, CornerRadii::new(Size::new(6, 6)))
        .into_styled(stroke)
        .draw(frame)?;
    Circle::new(Point::new(4, 4), 13).into_styled(fill).draw(frame)?;
    Ellipse::new(Point::new(20, 5), Size::new(18, 9))
        .into_styled(fill)
        .draw(frame)?;
    Triangle::new(Point::new(44, 4), Point::new(58, 9), Point::new(41, 15))
        .into_styled(fill)
        .draw(frame)?;
    Sector::new(Point::new(58, 4), 11, 30.0.deg(), 250.0.deg())
        .into_styled(fill)
        .draw(frame)?;
    Arc::new(Point::new(50, 16), 17, 100.0.deg(), 300.0.deg())
        .into_styled(stroke)
        .draw(frame)?;
    Line::new(Point::new(3, 20), Point::new(68, 17))
        .into_styled(PrimitiveStyle::with_stroke(light, 3))
        .draw(frame)?;
    let curve: [Point; 16] = core::array::from_fn(|i| Point::new(4 + 4 * i as i32, 33 - (i * i % 11) as i32));
    Polyline::new(&curve).into_styled(stroke).draw(frame)?;
    let style = TextStyleBuilder::new()
        .alignment(Alignment::Center)
        .baseline(Baseline::Middle)
        .build();
    Text::with_text_style("21.5 C", Point::new(26, 27), MonoTextStyle::new(font, light), style).draw(frame)?;
    Ok(())
}

/// Prints a frame, half as many lines as it has rows.
fn show<C: PixelColor>(name: &str, frame: &Frame<C>, ink: impl Fn(C) -> char) {
    for row in frame.pixels.chunks(2 * WIDTH) {
        let mut line = String::<{ 4 * WIDTH }>::new();
        row[..WIDTH]
            .iter()
            .for_each(|&pixel| line.write_char(ink(pixel)).unwrap_or_default());
        say!("{}", line.trim_end());
    }
    say!("{name}: {} pixels drawn", frame.drawn);
}

#[exception]
fn PendSV() {
    say!("frame");
}

#[entry]
fn main() -> ! {
    static mut MONO: Frame<BinaryColor> = Frame {
        pixels: [BinaryColor::Off; WIDTH * HEIGHT],
        drawn: 0,
    };
    static mut GRAY: Frame<Gray4> = Frame {
        pixels: [Gray4::BLACK; WIDTH * HEIGHT],
        drawn: 0,
    };
    static mut COLOR: Frame<Rgb565> = Frame {
        pixels: [Rgb565::BLACK; WIDTH * HEIGHT],
        drawn: 0,
    };
    let frame = || {
        cortex_m::peripheral::SCB::set_pendsv();
        cortex_m::asm::isb();
    };
    let Ok(()) = draw(MONO, [BinaryColor::Off, BinaryColor::On, BinaryColor::On], &FONT_5X8);
    frame();
    show("mono", MONO, |pixel| if pixel.is_on() { '#' } else { ' ' });
    let Ok(()) = draw(GRAY, [Gray4::BLACK, Gray4::new(7), Gray4::WHITE], &FONT_6X10);
    frame();
    show("gray", GRAY, |pixel| {
        b" .:-=+*#%@@@@@@@"[usize::from(pixel.luma())] as char
    });
    let Ok(()) = draw(
        COLOR,
        [Rgb565::BLACK, Rgb565::CSS_TOMATO, Rgb565::CSS_SKY_BLUE],
        &FONT_6X10,
    );
    frame();
    show("color", COLOR, |pixel| {
        if pixel.b() > 16 {
            'b'
        } else if pixel.r() > 16 {
            'r'
        } else {
            ' '
        }
    });
    if cfg!(feature = "panic") {
        let beyond = COLOR.pixels[MONO.drawn + GRAY.drawn + COLOR.drawn];
        say!("{beyond:?}");
    }
    if cfg!(feature = "fault") {
        board::fault();
    }
    board::exit(0)
}
