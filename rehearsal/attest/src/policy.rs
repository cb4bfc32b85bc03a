//! `policy.yaml`: whose agreement a bundle needs.

use qbind_evidence::{Digest, Form, GateType, Trust, TrustedKey, key_id};
use qbind_types::PublicKey;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

const SCHEMA: &str = "qbind.policy/v1";
const BYTES: u64 = 4 * 1024 * 1024;

/// A signature scheme, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// FIPS 204, category 2: the one there is.
    #[default]
    #[serde(rename = "ml-dsa-44")]
    MlDsa44,
    /// FIPS 204, category 3: no key of it can sign here yet.
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
    /// FIPS 204, category 5: no key of it can sign here yet.
    #[serde(rename = "ml-dsa-87")]
    MlDsa87,
}

/// Somebody whose decision may count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Name of the key.
    pub name: String,
    /// The person; counts once, however many keys they hold.
    pub operator: String,
    /// For whom they act.
    pub organisation: String,
    /// As what they may sign.
    pub roles: BTreeSet<String>,
    /// Scheme of the key.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The ML-DSA-44 public key, 2,624 hexadecimal digits.
    pub public_key: PublicKey,
    /// Decisions before do not count (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Instant>,
    /// Decisions after do not count (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Instant>,
    /// The key is worth nothing any more, whenever it signed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Instant>,
}

impl Member {
    /// The id under which the key signs.
    pub fn id(&self) -> Digest {
        key_id(&self.public_key)
    }
}

/// A moment, written in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

impl Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl std::fmt::Display for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(self.0);
        humantime::format_rfc3339_seconds(time).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Instant {
    /// Reads RFC 3339.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| {
            format!("`{text}` is no time ({why}); write it like 2026-02-10T12:00:00Z")
        };
        let time = humantime::parse_rfc3339(text).map_err(|e| wrong(&e))?;
        let since =
            time.duration_since(std::time::UNIX_EPOCH).map_err(|_| wrong(&"before 1970"))?;
        u64::try_from(since.as_millis()).map(Self).map_err(|_| wrong(&"too late"))
    }
}

/// The content of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// `qbind.policy/v1`.
    pub schema: String,
    /// What it is for, for people.
    pub name: String,
    /// Different persons who must approve.
    pub threshold: usize,
    /// Different organisations among those who approve.
    #[serde(default = "one")]
    pub organisations: usize,
    /// Of each role, how many persons must approve.
    #[serde(default)]
    pub roles: BTreeMap<String, usize>,
    /// Weaker keys do not count.
    #[serde(default)]
    pub algorithm_floor: Algorithm,
    /// A decision counts for so many days.
    #[serde(default = "month")]
    pub sign_off_days: u32,
    /// The purposes it decides about; all if none is named.
    #[serde(default)]
    pub gate_types: Vec<GateType>,
    /// Whether a member must have signed the plan before the run.
    #[serde(default = "yes")]
    pub plan_signed: bool,
    /// How often a stage may have been run: one that is interrupted and resumed runs some again.
    #[serde(default = "once")]
    pub attempts: u64,
    /// Bounds of the plan that may let more through than the guide's.
    #[serde(default)]
    pub looser_bounds: BTreeSet<String>,
    /// Days after the end of a run in which it may be approved.
    #[serde(default = "month")]
    pub max_age_days: u32,
    /// Whether a quick run is not enough.
    #[serde(default)]
    pub full_only: bool,
    /// The n of "t of n".
    pub members: Vec<Member>,
}

fn one() -> usize {
    1
}

fn once() -> u64 {
    1
}

fn yes() -> bool {
    true
}

fn month() -> u32 {
    30
}

/// Why a policy file cannot be used.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("cannot read the policy file {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not YAML of this schema, or demands what cannot be.
    #[error("the policy file {} cannot be used: {detail}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Line and reason.
        detail: String,
    },
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// It cannot be read, is not of this schema, or could never be met.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let io = |source| PolicyError::Io { path: path.to_owned(), source };
        let unusable = |detail| PolicyError::Unusable { path: path.to_owned(), detail };
        if fs::metadata(path).map_err(io)?.len() > BYTES {
            return Err(unusable(format!("it is larger than {BYTES} bytes")));
        }
        Self::parse(&fs::read_to_string(path).map_err(io)?).map_err(unusable)
    }

    /// Reads the text of a policy file.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        policy.check()?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema is {:?}, expected {SCHEMA:?}", self.schema));
        }
        let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for member in &self.members {
            if !names.insert(&member.name) {
                return Err(format!("the name {:?} appears twice", member.name));
            }
            if !keys.insert(member.id()) {
                return Err(format!("the key of {:?} appears twice", member.name));
            }
            if member.algorithm != Algorithm::MlDsa44 {
                let name = &member.name;
                return Err(format!("UNSUPPORTED: the key of {name:?} is not ml-dsa-44"));
            }
        }
        let mut organisation_of: BTreeMap<String, &str> = BTreeMap::new();
        for member in &self.members {
            for (key, text) in
                [("operator", &member.operator), ("organisation", &member.organisation)]
            {
                let plain =
                    !text.is_empty() && text.trim() == text && !text.contains(char::is_control);
                if !plain {
                    return Err(format!("{key} of {:?} is empty or not plain text", member.name));
                }
            }
            let spelt = member.operator.to_lowercase();
            let same = self
                .members
                .iter()
                .find(|m| m.operator != member.operator && m.operator.to_lowercase() == spelt);
            if let Some(other) = same {
                let (one, two) = (&member.operator, &other.operator);
                return Err(format!("{one:?} and {two:?} are one operator or two? write it alike"));
            }
            if *organisation_of.entry(spelt).or_insert(&member.organisation) != member.organisation
            {
                return Err(format!("{:?} acts for two organisations", member.operator));
            }
        }
        let able: Vec<&Member> =
            self.members.iter().filter(|m| m.algorithm >= self.algorithm_floor).collect();
        let persons = |role: Option<&str>| -> usize {
            let holds = |m: &&&Member| role.is_none_or(|role| m.roles.contains(role));
            able.iter().filter(holds).map(|m| &m.operator).collect::<BTreeSet<_>>().len()
        };
        let organisations = able.iter().map(|m| &m.organisation).collect::<BTreeSet<_>>().len();
        let check = |key: &str, wanted: usize, there: usize| match wanted {
            0 => Err(format!("{key} is 0: nobody would have to agree")),
            _ if wanted > there => {
                Err(format!("{key} is {wanted}, and only {there} of the members could count"))
            }
            _ => Ok(()),
        };
        check("threshold", self.threshold, persons(None))?;
        check("organisations", self.organisations, organisations)?;
        for (role, wanted) in &self.roles {
            check(&format!("roles.{role}"), *wanted, persons(Some(role)))?;
        }
        if self.sign_off_days == 0 {
            return Err("sign_off_days is 0: no decision would count".to_owned());
        }
        Ok(())
    }

    /// The members as keys whose signature counts.
    pub fn trust(&self) -> Trust {
        let key = |member: &Member| TrustedKey {
            name: member.name.clone(),
            operator: member.operator.clone(),
            organisation: member.organisation.clone(),
            public_key: member.public_key.clone(),
        };
        Trust::new(self.members.iter().map(key).collect())
    }

    /// Whether a key may still vouch for anything at `now`, Unix milliseconds.
    pub fn vouches(&self, key: Digest, now: u64) -> bool {
        self.member(key).is_some_and(|member| {
            member.revoked_at.is_none()
                && member.algorithm >= self.algorithm_floor
                && member.valid_from.is_none_or(|from| from.0 <= now)
                && member.valid_until.is_none_or(|until| now <= until.0)
        })
    }

    /// The member who holds this key.
    pub fn member(&self, key: Digest) -> Option<&Member> {
        self.members.iter().find(|member| member.id() == key)
    }

    /// Why a run of this purpose and form cannot be decided on under this policy.
    pub fn objection(&self, purpose: GateType, form: Form) -> Option<String> {
        if !self.gate_types.is_empty() && !self.gate_types.contains(&purpose) {
            return Some("the policy decides about other gate types (gate_types)".to_owned());
        }
        (self.full_only && form != Form::Full)
            .then(|| "the policy asks for a full run (full_only)".to_owned())
    }
}
