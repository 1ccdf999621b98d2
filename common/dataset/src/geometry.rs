//! Sizes and rectangles in pixels.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Width and height in pixels. Prints as `2048x1024`, width first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// A square of the given side.
    pub const fn square(side: u32) -> Self {
        Self::new(side, side)
    }

    /// Number of pixels.
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Whether a rectangle of `other`'s size fits inside this one.
    pub const fn holds(self, other: Size) -> bool {
        other.width <= self.width && other.height <= self.height
    }
}

impl From<[u32; 2]> for Size {
    /// From width and height, as configurations write them.
    fn from([width, height]: [u32; 2]) -> Self {
        Self { width, height }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A rectangle of `size` whose top-left pixel is column `x`, row `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    pub x: u32,
    pub y: u32,
    pub size: Size,
}

impl Window {
    /// The window that covers all of an image.
    pub const fn all_of(size: Size) -> Self {
        Self { x: 0, y: 0, size }
    }

    /// Whether the window lies entirely inside an image of the given size.
    pub fn lies_in(self, image: Size) -> bool {
        let right = u64::from(self.x) + u64::from(self.size.width);
        let bottom = u64::from(self.y) + u64::from(self.size.height);
        right <= u64::from(image.width) && bottom <= u64::from(image.height)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}, row {}", self.size, self.x, self.y)
    }
}
