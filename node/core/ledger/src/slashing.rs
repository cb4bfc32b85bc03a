//! What follows from proven offences: records, penalties, jail.
//!
//! ```text
//!  reports in blocks ─▶ judged: recorded, and penalties decided ── next election ──▶ stake burned,
//!                                                                                     jailed not elected
//! ```
//! Promises: one event costs its offender what the gravest offence in it costs, however it is reported;
//! in mode `RecordOnly` nothing but the records changes; nobody's last unit of stake is taken.
//!
//! Never here: a signature check. [`EvidenceCheck`] is handed in by who can.

use crate::{Refusal, Registry, SlashingMode, SlashingParams};
use alloc::{collections::BTreeMap, vec::Vec};
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::{Address, Epoch, Evidence, Offence, ValidatorSet};

/// Most events of one offence, validator and epoch that are recorded.
const EVENTS: usize = 256;
/// Most lazy votes remembered of a validator.
const LAZY_VOTES: usize = 64;
/// Bounds of a finder's fee.
const FINDER: (u64, u64) = (100, 10_000);

/// Whether evidence proves what it says, against the validators of its epoch.
pub trait EvidenceCheck: Sync {
    /// True only if nobody but the accused can have made it.
    fn proves(&self, validators: &ValidatorSet, evidence: &Evidence) -> bool;
}

/// Takes no evidence: for ledgers whose blocks hold no reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvidence;

impl EvidenceCheck for NoEvidence {
    fn proves(&self, _: &ValidatorSet, _: &Evidence) -> bool {
        false
    }
}

/// What became of an accusation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Right, and nothing is left to be taken for it: something as grave was reported of this event.
    AcceptedNoop,
    /// Right and recorded; the mode asks for no more.
    EvidenceOnly,
    /// Right: stake goes, or jail follows.
    PenaltyApplied,
    /// Proves nothing.
    RejectedInvalid,
    /// Known.
    RejectedDuplicate,
}

/// An accusation and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Of what.
    pub offence: Offence,
    /// Against whom, if it is a validator of its epoch.
    pub validator: Option<u64>,
    /// In which epoch.
    pub epoch: Epoch,
    /// In which view, or of batches round.
    pub at: u64,
    /// What became of it.
    pub decision: Decision,
    /// Stake that goes at the next election.
    pub penalty: u64,
    /// Whether it sends its offender to jail; a longer sentence for the same event does not again.
    pub jails: bool,
}

impl Judged {
    /// Whether it proved right.
    pub fn is_accepted(&self) -> bool {
        !matches!(self.decision, Decision::RejectedInvalid | Decision::RejectedDuplicate)
    }
}

/// What is held against one validator.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct SlashingRecord {
    /// Not elected for epochs below this one, as far as the set can do without it.
    pub jailed_until: Epoch,
    /// Stake taken so far.
    pub total_slashed: u128,
    /// How often it was sent to jail.
    pub jail_count: u64,
    /// Accusations that proved right, by offence in the order of [`Offence::ALL`].
    pub offences: [u64; 6],
    /// Views of lazy votes that have not led to more yet, ascending.
    lazy: Vec<u64>,
}

/// One event; everything that is proven of it together costs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
struct Event {
    epoch: Epoch,
    validator: u64,
    is_batch: bool,
    at: u64,
}

/// What is known of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
struct Known {
    /// One bit for each offence, in the order of [`Offence::ALL`].
    offences: u8,
    /// Stake it has cost.
    cost: u64,
    /// Whether it has led to jail, and for how long.
    jail: u64,
}

/// Stake that goes at the next election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Penalty {
    pub(crate) validator: u64,
    /// Its owner in the epoch of the offence, by whom a bond about to be paid back is found.
    pub(crate) owner: Address,
    pub(crate) amount: u64,
    pub(crate) finder: Address,
}

impl Penalty {
    /// The finder's part of what was taken: a tenth within bounds, and never more than there is.
    pub(crate) fn finder_fee(taken: u64) -> u64 {
        (taken / 10).clamp(FINDER.0, FINDER.1).min(taken)
    }
}

/// All that is held against validators.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Slashing {
    records: BTreeMap<u64, SlashingRecord>,
    /// As long as their epochs' validators are known.
    events: BTreeMap<Event, Known>,
    penalties: Vec<Penalty>,
}

/// An accusation that is neither unheard of nor known.
struct Case<'a> {
    set: &'a ValidatorSet,
    validator: u64,
    owner: Address,
    /// In the epoch of the offence.
    stake: u64,
    offence: Offence,
    event: Event,
}

impl Slashing {
    /// What is held against each validator, by id.
    pub fn records(&self) -> impl Iterator<Item = (u64, &SlashingRecord)> {
        self.records.iter().map(|(id, record)| (*id, record))
    }

    /// What is held against a validator.
    pub fn record(&self, validator: u64) -> Option<&SlashingRecord> {
        self.records.get(&validator)
    }

    /// Stake of a validator that goes at the next election.
    pub fn pending(&self, validator: u64) -> u64 {
        self.penalties.iter().filter(|p| p.validator == validator).map(|p| p.amount).sum()
    }

    /// Until which epoch a validator is not to be elected.
    pub(crate) fn jailed_until(&self, validator: u64) -> Epoch {
        self.records.get(&validator).map_or(Epoch(0), |record| record.jailed_until)
    }

    /// Whether a report would be heard; whether it proves anything is not asked here.
    ///
    /// # Errors
    /// The sender's fault.
    pub(crate) fn check(
        &self,
        params: &SlashingParams,
        registry: &Registry,
        evidence: &Evidence,
    ) -> Result<(), Refusal> {
        self.case(params, registry, evidence).map(|_| ())
    }

    fn case<'a>(
        &self,
        params: &SlashingParams,
        registry: &'a Registry,
        evidence: &Evidence,
    ) -> Result<Case<'a>, Refusal> {
        if params.mode == SlashingMode::Off {
            return Err(Refusal::SlashingOff);
        }
        let epoch = evidence.epoch();
        let set = registry.set(epoch).ok_or(Refusal::EpochNotKept { epoch })?;
        let index = evidence.accused();
        let member = set.get(index).ok_or(Refusal::NotProven)?;
        let offence = evidence.offence();
        let is_batch = offence == Offence::O4InvalidDagCertificate;
        let (validator, owner, stake) = (member.id, member.address, member.power.0);
        let event = Event { epoch, validator, is_batch, at: evidence.at() };
        if self.events.get(&event).is_some_and(|known| known.offences & bit(offence) != 0) {
            return Err(Refusal::AlreadyReported { id: validator });
        }
        // Who fills the list with its own small offences cannot keep a great one out of it.
        let (first, last) = (
            Event { is_batch: false, at: 0, ..event },
            Event { is_batch: true, at: u64::MAX, ..event },
        );
        let like_it =
            self.events.range(first..=last).filter(|(_, k)| k.offences & bit(offence) != 0);
        if like_it.count() >= EVENTS {
            return Err(Refusal::AlreadyReported { id: validator });
        }
        Ok(Case { set, validator, owner, stake, offence, event })
    }

    /// Judges a report.
    ///
    /// # Errors
    /// The sender's fault; nothing has changed.
    pub(crate) fn report(
        &mut self,
        params: &SlashingParams,
        registry: &Registry,
        evidence: &Evidence,
        finder: Address,
        check: &dyn EvidenceCheck,
        out: &mut Vec<Judged>,
    ) -> Result<(), Refusal> {
        let case = self.case(params, registry, evidence);
        let proven = case.and_then(|case| {
            if check.proves(case.set, evidence) { Ok(case) } else { Err(Refusal::NotProven) }
        });
        let case = match proven {
            Ok(case) => case,
            Err(refusal) => {
                out.push(refused(registry, evidence, &refusal));
                return Err(refusal);
            }
        };
        out.push(self.convict(params, registry, &case, case.offence, finder));
        if case.offence == Offence::O3aLazyVote && self.is_lazy_again(params, &case) {
            out.push(self.convict(params, registry, &case, Offence::O3bLazyVotes, finder));
        }
        Ok(())
    }

    /// Notes a lazy vote; whether it is one too many within the window. Those that make it so count
    /// no more.
    fn is_lazy_again(&mut self, params: &SlashingParams, case: &Case<'_>) -> bool {
        let lazy = &mut self.records.entry(case.validator).or_default().lazy;
        let place = lazy.partition_point(|view| *view < case.event.at);
        lazy.insert(place, case.event.at);
        let count = usize::try_from(params.lazy_votes.max(1)).unwrap_or(usize::MAX);
        let close = lazy.windows(count).position(|w| w[count - 1] - w[0] < params.lazy_window);
        if let Some(first) = close {
            lazy.drain(first..first + count);
        }
        while lazy.len() > LAZY_VOTES {
            lazy.remove(0);
        }
        close.is_some()
    }

    fn convict(
        &mut self,
        params: &SlashingParams,
        registry: &Registry,
        case: &Case<'_>,
        offence: Offence,
        finder: Address,
    ) -> Judged {
        let Case { validator, owner, event, .. } = *case;
        let known = self.events.entry(event).or_default();
        known.offences |= bit(offence);
        let record = self.records.entry(validator).or_default();
        record.offences[place(offence)] += 1;
        let (epoch, at) = (event.epoch, event.at);
        let validator_id = Some(validator);
        let (decision, penalty, jails) = (Decision::EvidenceOnly, 0, false);
        let judged =
            Judged { offence, validator: validator_id, epoch, at, decision, penalty, jails };
        if !params.mode.enforces(offence) {
            return judged;
        }
        let rule = params.rule(offence);
        let owed: u64 =
            self.penalties.iter().filter(|p| p.validator == validator).map(|p| p.amount).sum();
        let left = registry.slashable(validator, &owner).saturating_sub(owed);
        let due = u128::from(case.stake) * u128::from(rule.bps) / 10_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let amount = due.saturating_sub(known.cost).min(left);
        known.cost += amount;
        if amount > 0 {
            self.penalties.push(Penalty { validator, owner, amount, finder });
        }
        let is_longer = rule.jail_epochs > known.jail;
        let jails = is_longer && known.jail == 0;
        if is_longer {
            known.jail = rule.jail_epochs;
            let until = Epoch(registry.earliest().0.saturating_add(rule.jail_epochs));
            record.jailed_until = record.jailed_until.max(until);
            record.jail_count += u64::from(jails);
        }
        let has_effect = amount > 0 || is_longer;
        let decision = if has_effect { Decision::PenaltyApplied } else { Decision::AcceptedNoop };
        Judged { decision, penalty: amount, jails, ..judged }
    }

    /// Whether an election has penalties to carry out.
    pub(crate) fn has_penalties(&self) -> bool {
        !self.penalties.is_empty()
    }

    /// The penalties decided since the last election, to be carried out now.
    pub(crate) fn take_penalties(&mut self) -> Vec<Penalty> {
        core::mem::take(&mut self.penalties)
    }

    /// Notes that a penalty was carried out.
    pub(crate) fn has_taken(&mut self, validator: u64, taken: u64) {
        self.records.entry(validator).or_default().total_slashed += u128::from(taken);
    }

    /// Forgets events of epochs below `oldest`, which nobody can report any more.
    pub(crate) fn forget_below(&mut self, oldest: Epoch) -> bool {
        let first = Event { epoch: oldest, validator: 0, is_batch: false, at: 0 };
        let kept = self.events.split_off(&first);
        let has_forgotten = !self.events.is_empty();
        self.events = kept;
        has_forgotten
    }
}

fn place(offence: Offence) -> usize {
    Offence::ALL.iter().position(|o| *o == offence).expect("it lists every offence")
}

fn bit(offence: Offence) -> u8 {
    1 << place(offence)
}

fn refused(registry: &Registry, evidence: &Evidence, refusal: &Refusal) -> Judged {
    let epoch = evidence.epoch();
    let member = registry.set(epoch).and_then(|set| set.get(evidence.accused()));
    Judged {
        offence: evidence.offence(),
        validator: member.map(|m| m.id),
        epoch,
        at: evidence.at(),
        decision: match refusal {
            Refusal::AlreadyReported { .. } => Decision::RejectedDuplicate,
            _ => Decision::RejectedInvalid,
        },
        penalty: 0,
        jails: false,
    }
}
