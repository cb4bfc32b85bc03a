//! The only seam: disks, keys and sockets in the daemon, a seed in the simulator.

use crate::{Effect, Event, Now, Replica};
use alloc::collections::VecDeque;

/// Carries out effects.
pub trait World {
    /// What can go wrong outside the core; the first one stops the node.
    type Fault;

    /// Carries out one effect completely and answers if the effect asks for an answer.
    ///
    /// # Errors
    /// The world's fault: nothing that follows may be carried out.
    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, Self::Fault>;
}

/// Feeds one event and carries out everything that follows from it, in order.
///
/// An effect is finished before the next begins, so nothing is sent before what allows it is
/// durable.
///
/// # Errors
/// The world's fault; the replica must not be driven further.
pub fn perform<W: World>(
    replica: &mut Replica,
    now: Now,
    event: Event,
    world: &mut W,
) -> Result<(), W::Fault> {
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        for effect in replica.step(now, event) {
            events.extend(world.carry_out(effect)?);
        }
    }
    Ok(())
}
