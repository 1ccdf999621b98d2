//! Three-component vectors: positions in metres (x right, y up, z forward) and linear colours.

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// A position or direction (metres), or a colour in linear light (0 black, 1 white paper in daylight).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct V3 {
    pub x: f32,
    pub y: f32,
    pub z: f32,
}

/// A colour in linear light.
pub type Rgb = V3;

pub const fn v3(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

/// A linear colour from display values in 0..=1; the display curve is the square root throughout.
pub const fn paint(r: f32, g: f32, b: f32) -> Rgb {
    v3(r * r, g * g, b * b)
}

pub const UP: V3 = v3(0.0, 1.0, 0.0);

impl V3 {
    pub fn dot(self, other: V3) -> f32 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    pub fn cross(self, o: V3) -> V3 {
        v3(
            self.y * o.z - self.z * o.y,
            self.z * o.x - self.x * o.z,
            self.x * o.y - self.y * o.x,
        )
    }

    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The direction of this vector; straight up for a zero vector.
    pub fn unit(self) -> V3 {
        let length = self.length();
        if length > 1e-9 { self * (1.0 / length) } else { UP }
    }

    /// The horizontal direction to the right of a horizontal heading.
    pub fn rightward(self) -> V3 {
        v3(self.z, self.y, -self.x)
    }

    /// `self` at t = 0, `other` at t = 1.
    pub fn mix(self, other: V3, t: f32) -> V3 {
        self + (other - self) * t
    }

    /// Component by component, as light on a coloured surface.
    pub fn times(self, o: V3) -> V3 {
        v3(self.x * o.x, self.y * o.y, self.z * o.z)
    }

    /// Brightness to the eye of a linear colour.
    pub fn luminance(self) -> f32 {
        0.25 * self.x + 0.65 * self.y + 0.10 * self.z
    }
}

impl Add for V3 {
    type Output = V3;
    fn add(self, o: V3) -> V3 {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl AddAssign for V3 {
    fn add_assign(&mut self, o: V3) {
        *self = *self + o;
    }
}

impl Sub for V3 {
    type Output = V3;
    fn sub(self, o: V3) -> V3 {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Neg for V3 {
    type Output = V3;
    fn neg(self) -> V3 {
        v3(-self.x, -self.y, -self.z)
    }
}

impl Mul<f32> for V3 {
    type Output = V3;
    fn mul(self, k: f32) -> V3 {
        v3(self.x * k, self.y * k, self.z * k)
    }
}

/// 0 below `low`, 1 above `high`, smooth between.
pub fn ramp(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// How much of a pixel of width `footprint` around `x` lies within `half` of `centre` (0..=1).
pub fn stripe(x: f32, centre: f32, half: f32, footprint: f32) -> f32 {
    let blur = footprint.max(1e-4);
    let inside = ((half - (x - centre).abs()) / blur + 0.5).clamp(0.0, 1.0);
    inside * (2.0 * half / blur).min(1.0)
}

/// Rounding and remainders without the calls that the baseline instruction set would need.
pub trait Grid {
    /// The largest whole number not above this one (which must fit an `i32`).
    fn cell(self) -> i32;
    /// The remainder of a positive period, in `0..period`.
    fn wrap(self, period: f32) -> f32;
}

impl Grid for f32 {
    fn cell(self) -> i32 {
        let whole = self as i32;
        whole - i32::from(self < whole as f32)
    }

    fn wrap(self, period: f32) -> f32 {
        self - (self / period).cell() as f32 * period
    }
}
