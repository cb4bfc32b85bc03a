//! The only seam: disks, keys and sockets in the daemon, a seed in the simulator.

use crate::{Effect, Event, Now, Replica};
use alloc::{collections::VecDeque, vec::Vec};

/// Carries out effects.
pub trait World {
    /// What can go wrong outside the core; the first one stops the node.
    type Fault;

    /// Carries out one effect completely and answers if the effect asks for an answer. What it
    /// writes need not be durable before [`World::sync`].
    ///
    /// # Errors
    /// The world's fault: nothing that follows may be carried out.
    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, Self::Fault>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The world's fault: nothing may be signed.
    fn sync(&mut self) -> Result<(), Self::Fault>;
}

/// Feeds events and carries out everything that follows from them.
///
/// Effects are carried out in order, but for signatures: those wait until the events are used up,
/// then one sync makes durable all that was written, then they are made. So no signature exists,
/// let alone leaves, before what allows it is on disk, and many share one sync.
///
/// # Errors
/// The world's fault; the replica must not be driven further.
pub fn perform<W: World>(
    replica: &mut Replica,
    now: Now,
    events: impl IntoIterator<Item = Event>,
    world: &mut W,
) -> Result<(), W::Fault> {
    let mut events: VecDeque<Event> = events.into_iter().collect();
    let mut signatures = Vec::new();
    loop {
        while let Some(event) = events.pop_front() {
            let effects = replica.step(now, event);
            events.extend(carry_out_all(effects, &mut signatures, world)?);
        }
        if signatures.is_empty() {
            return Ok(());
        }
        world.sync()?;
        for effect in signatures.drain(..) {
            events.extend(world.carry_out(effect)?);
        }
    }
}

/// As [`perform`], for the effects a replica begins with.
///
/// # Errors
/// The world's fault; the replica must not be driven further.
pub fn begin<W: World>(
    replica: &mut Replica,
    now: Now,
    effects: Vec<Effect>,
    world: &mut W,
) -> Result<(), W::Fault> {
    let mut signatures = Vec::new();
    let mut events = carry_out_all(effects, &mut signatures, world)?;
    if !signatures.is_empty() {
        world.sync()?;
    }
    for effect in signatures {
        events.extend(world.carry_out(effect)?);
    }
    perform(replica, now, events, world)
}

fn carry_out_all<W: World>(
    effects: Vec<Effect>,
    signatures: &mut Vec<Effect>,
    world: &mut W,
) -> Result<Vec<Event>, W::Fault> {
    let mut answers = Vec::new();
    for effect in effects {
        match effect {
            Effect::Sign(_) | Effect::SignBatch(_) | Effect::SignAck { .. } => {
                signatures.push(effect)
            }
            other => answers.extend(world.carry_out(other)?),
        }
    }
    Ok(answers)
}
