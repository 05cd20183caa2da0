//! How much a sender has in hand: deliveries, and the memory that their bodies take.

use aisha_webhooks::dispatch::Delivery;
use std::{
    iter::Sum,
    ops::{AddAssign, SubAssign},
};

/// How much is in hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub deliveries: usize,
    /// Of their bodies.
    pub bytes: usize,
}

impl Size {
    pub fn of<'d>(deliveries: impl IntoIterator<Item = &'d Delivery>) -> Self {
        deliveries.into_iter().map(|d| Self { deliveries: 1, bytes: d.body.len() }).sum()
    }

    /// How many deliveries more there may be, if this much is in hand.
    pub fn room(self, most: Self) -> usize {
        if self.bytes < most.bytes { most.deliveries.saturating_sub(self.deliveries) } else { 0 }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, other: Self) {
        self.deliveries = self.deliveries.saturating_sub(other.deliveries);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), |mut all, size| {
            all += size;
            all
        })
    }
}
