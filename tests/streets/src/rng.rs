//! Random numbers by key, and noise by position. No state is shared: a scene's numbers depend on its key alone.

use crate::vector::Grid;

/// A stream of random numbers (SplitMix64), keyed so that any scene can be made alone.
#[derive(Clone, Debug)]
pub struct SceneRng {
    state: u64,
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl SceneRng {
    /// The stream of `(seed, what, index)`.
    pub fn keyed(seed: u64, what: u64, index: u64) -> Self {
        let mut state = scramble(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
        state = scramble(state ^ what.wrapping_mul(0xd134_2543_de82_ef95));
        state = scramble(state ^ index.wrapping_mul(0xaf25_1af3_b0f0_25b5));
        Self { state }
    }

    /// A new stream for one `purpose`; drawing from it leaves this one where it is.
    pub fn fork(&self, purpose: u64) -> Self {
        Self {
            state: scramble(self.state ^ purpose.wrapping_mul(0x9e6c_63d0_876a_3f35).wrapping_add(1)),
        }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.state)
    }

    pub fn salt(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Uniform in `low..high`.
    pub fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in `low..=high`.
    pub fn count(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next_u64() % u64::from(high - low + 1)) as u32
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// One of a non-empty table.
    pub fn pick<T: Copy>(&mut self, table: &[T]) -> T {
        table[(self.next_u64() % table.len() as u64) as usize]
    }
}

/// A hash of a grid cell, uniform over u32.
pub fn hash(x: i32, y: i32, salt: u32) -> u32 {
    let mut h = (x as u32).wrapping_mul(0x85eb_ca6b)
        ^ (y as u32).wrapping_mul(0xc2b2_ae35)
        ^ salt.wrapping_mul(0x27d4_eb2f);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// As [`hash`], in 0..1.
pub fn speck(x: i32, y: i32, salt: u32) -> f32 {
    (hash(x, y, salt) >> 8) as f32 / (1u32 << 24) as f32
}

/// Smooth value noise in 0..1 with features of size 1.
pub fn noise(x: f32, y: f32, salt: u32) -> f32 {
    let (ix, iy) = (x.cell(), y.cell());
    let (tx, ty) = (x - ix as f32, y - iy as f32);
    let (sx, sy) = (tx * tx * (3.0 - 2.0 * tx), ty * ty * (3.0 - 2.0 * ty));
    let near = speck(ix, iy, salt) * (1.0 - sx) + speck(ix.wrapping_add(1), iy, salt) * sx;
    let far = speck(ix, iy.wrapping_add(1), salt) * (1.0 - sx)
        + speck(ix.wrapping_add(1), iy.wrapping_add(1), salt) * sx;
    near * (1.0 - sy) + far * sy
}

/// Four octaves of [`noise`], in 0..1, features from 1 down to 1/8.
pub fn clouds(x: f32, y: f32, salt: u32) -> f32 {
    0.53 * noise(x, y, salt)
        + 0.27 * noise(x * 2.03, y * 2.03, salt ^ 0x51)
        + 0.13 * noise(x * 4.1, y * 4.1, salt ^ 0xa3)
        + 0.07 * noise(x * 8.2, y * 8.2, salt ^ 0xf7)
}
