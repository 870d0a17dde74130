//! Records, and their bytes in a log.
//!
//! A record is a kind byte and fixed-width little-endian fields; text comes last and fills the
//! rest. A kind's layout never changes: a new layout is a new kind, and a kind this version does
//! not know means that a newer version wrote the store.

use super::codec;
use super::codec::{DecodeError, Fields};
use super::id_allocator::{IdAdvance, IdAllocator};
use crate::model::{
    EventId, Message, MessageContent, MessageId, MessageText, ModerationAction, ModerationEvent,
    Revision, Timestamp, User, UserId, Username,
};
use crate::store::entries::keyspaces::Entry;

const USER: u8 = 1;
const MESSAGE: u8 = 2;
const NEXT_IDS: u8 = 3;
const REVISION: u8 = 4;
const MODERATION: u8 = 5;
const ENTRY: u8 = 6;
/// Flag of an entry: it has a value.
const HAS_VALUE: u8 = 1;
/// Flag of an entry: its write batch goes on with the next record.
const CONTINUES: u8 = 2;

/// One change to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An account was registered. The record has its id and its first password hash.
    User(User),
    /// A message was posted. The record has its id.
    Message(Message),
    /// Ids go on from here; written at the end of an import, and of a compaction.
    NextIds(IdAllocator),
    /// A message was edited or deleted; the record has the message as the revision leaves it.
    Revision(Message),
    /// An operator acted. The record has the number of the event.
    Moderation(ModerationEvent),
    /// The value of a key was set or removed, whatever it was before.
    Entry(Entry),
}

/// A record as a log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogRecord {
    pub(super) record: Record,
    /// True if the write batch goes on with the next record. A batch takes effect only if its last
    /// record is in the log. Only entries are followed by another record of their batch.
    pub(super) continues: bool,
}

impl Record {
    /// Appends the record's bytes to `out`. `continues` is [`LogRecord::continues`].
    pub(super) fn encode(&self, continues: bool, out: &mut Vec<u8>) {
        debug_assert!(!continues || matches!(self, Record::Entry(_)));
        match self {
            Record::User(user) => encode_user(user, out),
            Record::Message(message) => encode_message(message, out),
            Record::Revision(message) => encode_revision(message, out),
            Record::Moderation(moderation) => encode_moderation(moderation, out),
            Record::NextIds(next_ids) => {
                out.push(NEXT_IDS);
                out.extend(next_ids.next_user.to_le_bytes());
                out.extend(next_ids.next_event.to_le_bytes());
            }
            Record::Entry(entry) => encode_entry(entry, continues, out),
        }
    }

    /// The number of the event, if the record is of one.
    pub(super) fn event(&self) -> Option<EventId> {
        match self {
            Record::Message(message) | Record::Revision(message) => Some(message.event()),
            Record::Moderation(moderation) => Some(moderation.event),
            Record::User(_) | Record::NextIds(_) | Record::Entry(_) => None,
        }
    }

    /// The effect of the record on the next ids.
    pub(super) fn advance(&self) -> IdAdvance {
        match self {
            Record::User(user) => IdAdvance::User(user.id),
            Record::Message(message) => IdAdvance::Message(message.id),
            Record::Revision(message) => IdAdvance::Event(message.event()),
            Record::Moderation(moderation) => IdAdvance::Event(moderation.event),
            Record::NextIds(next_ids) => IdAdvance::To(*next_ids),
            Record::Entry(_) => IdAdvance::Nowhere,
        }
    }
}

impl LogRecord {
    /// Reads what [`Record::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<LogRecord, DecodeError> {
        let mut fields = Fields(bytes);
        let kind = fields.u8()?;
        let record = match kind {
            USER => decode_user(fields).map(Record::User),
            MESSAGE => decode_message(fields).map(Record::Message),
            REVISION => decode_revision(fields).map(Record::Revision),
            NEXT_IDS => {
                let next_ids = IdAllocator { next_user: fields.u64()?, next_event: fields.u64()? };
                fields.end().map(|()| Record::NextIds(next_ids))
            }
            MODERATION => decode_moderation(fields).map(Record::Moderation),
            ENTRY => return decode_entry(fields),
            unknown => Err(DecodeError::UnknownKind(unknown)),
        };
        record.map(|record| LogRecord { record, continues: false })
    }
}

/// Layout: kind · id · time of creation · length of the name (1 byte) · name · password hash
fn encode_user(user: &User, out: &mut Vec<u8>) {
    let name = user.name.as_str();
    out.push(USER);
    out.extend(user.id.get().to_le_bytes());
    out.extend(user.created_at.millis().to_le_bytes());
    out.extend(u8::try_from(name.len()).unwrap_or(u8::MAX).to_le_bytes());
    out.extend(name.as_bytes());
    out.extend(user.password_hash.as_bytes());
}

fn decode_user(mut fields: Fields<'_>) -> Result<User, DecodeError> {
    let id = UserId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
    let created_at = fields.timestamp()?;
    let name_len = usize::from(fields.u8()?);
    let name = codec::text(fields.take(name_len)?)?;
    Ok(User {
        id,
        name: Username::from_store(name),
        password_hash: codec::text(fields.0)?.into(),
        created_at,
        ended_at: None,
    })
}

/// Layout: kind · what does not change · text. A text that a revision replaced may have been
/// erased, and is empty then.
fn encode_message(message: &Message, out: &mut Vec<u8>) {
    out.push(MESSAGE);
    encode_fixed(message, out);
    out.extend(message.text().as_bytes());
}

fn decode_message(mut fields: Fields<'_>) -> Result<Message, DecodeError> {
    let fixed = MessageHead::decode(&mut fields)?;
    let text = MessageText::from_store(codec::text(fields.0)?);
    Ok(fixed.with(MessageContent::Original(text)))
}

/// Layout: kind · what does not change · the event's number · user · time · whether it was deleted
/// · text
fn encode_revision(message: &Message, out: &mut Vec<u8>) {
    // Only a revised message is ever put into this record.
    let Some(revision) = message.revision() else { return };
    out.push(REVISION);
    encode_fixed(message, out);
    out.extend(revision.event.get().to_le_bytes());
    out.extend(revision.by.get().to_le_bytes());
    out.extend(revision.at.millis().to_le_bytes());
    out.push(u8::from(revision.text.is_none()));
    out.extend(message.text().as_bytes());
}

fn decode_revision(mut fields: Fields<'_>) -> Result<Message, DecodeError> {
    let fixed = MessageHead::decode(&mut fields)?;
    let event = EventId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
    let by = UserId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
    let at = fields.timestamp()?;
    let text = match fields.u8()? {
        0 => Some(MessageText::from_store(codec::text(fields.0)?)),
        1 => fields.end().map(|()| None)?,
        _ => return Err(DecodeError::Malformed),
    };
    if event <= fixed.id.into() {
        return Err(DecodeError::Malformed);
    }
    Ok(fixed.with(MessageContent::Revised(Box::new(Revision { event, by, at, text }))))
}

const BLOCK: u8 = 1;
const UNBLOCK: u8 = 2;
const CLOSE_REGISTRATION: u8 = 3;
const OPEN_REGISTRATION: u8 = 4;

/// Layout: kind · number · user · time · action · the user it was done to (0: nobody)
fn encode_moderation(moderation: &ModerationEvent, out: &mut Vec<u8>) {
    let (what, whom) = match moderation.action {
        ModerationAction::Block(user) => (BLOCK, user.get()),
        ModerationAction::Unblock(user) => (UNBLOCK, user.get()),
        ModerationAction::CloseRegistration => (CLOSE_REGISTRATION, 0),
        ModerationAction::OpenRegistration => (OPEN_REGISTRATION, 0),
    };
    out.push(MODERATION);
    out.extend(moderation.event.get().to_le_bytes());
    out.extend(moderation.by.get().to_le_bytes());
    out.extend(moderation.at.millis().to_le_bytes());
    out.push(what);
    out.extend(whom.to_le_bytes());
}

fn decode_moderation(mut fields: Fields<'_>) -> Result<ModerationEvent, DecodeError> {
    let event = EventId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
    let by = UserId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
    let at = fields.timestamp()?;
    let (what, whom) = (fields.u8()?, fields.u64()?);
    let action = match (what, UserId::new(whom)) {
        (BLOCK, Some(user)) => ModerationAction::Block(user),
        (UNBLOCK, Some(user)) => ModerationAction::Unblock(user),
        (CLOSE_REGISTRATION, None) if whom == 0 => ModerationAction::CloseRegistration,
        (OPEN_REGISTRATION, None) if whom == 0 => ModerationAction::OpenRegistration,
        _ => return Err(DecodeError::Malformed),
    };
    fields.end().map(|()| ModerationEvent { event, by, at, action })
}

/// Layout: id · from · to (0: the general chat) · time of sending
fn encode_fixed(message: &Message, out: &mut Vec<u8>) {
    out.extend(message.id.get().to_le_bytes());
    out.extend(message.from.get().to_le_bytes());
    out.extend(message.to.map_or(0, UserId::get).to_le_bytes());
    out.extend(message.sent_at.millis().to_le_bytes());
}

/// The part of a message that no revision changes.
struct MessageHead {
    id: MessageId,
    from: UserId,
    to: Option<UserId>,
    sent_at: Timestamp,
}

impl MessageHead {
    fn decode(fields: &mut Fields<'_>) -> Result<MessageHead, DecodeError> {
        let id = MessageId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
        let from = UserId::new(fields.u64()?).ok_or(DecodeError::Malformed)?;
        let to = match fields.u64()? {
            0 => None,
            to => Some(UserId::new(to).ok_or(DecodeError::Malformed)?),
        };
        Ok(MessageHead { id, from, to, sent_at: fields.timestamp()? })
    }

    fn with(self, content: MessageContent) -> Message {
        let MessageHead { id, from, to, sent_at } = self;
        Message { id, from, to, content, sent_at }
    }
}

/// Layout: kind · key · flags · value, if there is one
fn encode_entry(entry: &Entry, continues: bool, out: &mut Vec<u8>) {
    let value = entry.value_bytes();
    out.push(ENTRY);
    out.extend(entry.key_bytes());
    let has_value = if value.is_some() { HAS_VALUE } else { 0 };
    out.push(has_value | if continues { CONTINUES } else { 0 });
    out.extend(value.unwrap_or_default());
}

fn decode_entry(mut fields: Fields<'_>) -> Result<LogRecord, DecodeError> {
    let mut continues = false;
    let entry = Entry::take(&mut fields, |fields| {
        let flags = fields.u8()?;
        continues = flags & CONTINUES != 0;
        if flags & !(HAS_VALUE | CONTINUES) == 0 {
            Ok(flags & HAS_VALUE != 0)
        } else {
            Err(DecodeError::Malformed)
        }
    })?;
    fields.end().map(|()| LogRecord { record: Record::Entry(entry), continues })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Hash, RetryOrderKey, RetryOrderValue};

    fn user() -> Record {
        Record::User(User {
            id: UserId::new(3).unwrap(),
            name: Username::parse("Al.ice").unwrap(),
            password_hash: "$argon2id$x".into(),
            created_at: Timestamp::from_millis(0x0102),
            ended_at: None,
        })
    }

    fn message(to: Option<u64>) -> Record {
        Record::Message(Message {
            id: MessageId::new(0x0403_0201).unwrap(),
            from: UserId::new(1).unwrap(),
            to: to.map(|to| UserId::new(to).unwrap()),
            content: MessageContent::Original(MessageText::parse("привет".into()).unwrap()),
            sent_at: Timestamp::from_millis(1_700_000_000_123),
        })
    }

    fn revision(text: Option<&str>) -> Record {
        let Record::Message(mut message) = message(Some(7)) else { unreachable!() };
        message.content = MessageContent::Revised(Box::new(Revision {
            event: EventId::new(0x0403_0205).unwrap(),
            by: UserId::new(1).unwrap(),
            at: Timestamp::from_millis(0x0102),
            text: text.map(MessageText::from_store),
        }));
        Record::Revision(message)
    }

    fn moderation(action: ModerationAction) -> Record {
        let event = EventId::new(0x0402_0305).unwrap();
        let (by, at) = (UserId::FIRST, Timestamp::from_millis(0x0102));
        Record::Moderation(ModerationEvent { event, by, at, action })
    }

    fn entry(has_value: bool) -> Record {
        let key = RetryOrderKey { user: UserId::new(0x0a0b).unwrap(), number: 3 };
        let at = Timestamp::from_millis(1_700_000_000_123);
        let value = has_value.then_some(RetryOrderValue { key: Hash([0xab; 16]), at });
        Record::Entry(Entry::RetryOrder { key, value })
    }

    fn hex(record: &Record) -> String {
        hex_in_batch(record, false)
    }

    fn hex_in_batch(record: &Record, continues: bool) -> String {
        let mut bytes = Vec::new();
        record.encode(continues, &mut bytes);
        bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// The bytes on every disk out there: these literals never change.
    #[test]
    fn golden() {
        assert_eq!(
            hex(&user()),
            "01030000000000000002010000000000000641\
             6c2e69636524617267 6f6e32696424 78"
                .replace(' ', "")
        );
        assert_eq!(
            hex(&message(None)),
            "02010203040000000001000000000000000000000000000000\
             7b68e5cf8b010000d0bfd180d0b8d0b2d0b5d182"
        );
        assert_eq!(
            hex(&message(Some(0x0a0b))),
            "02010203040000000001000000000000000b0a000000000000\
             7b68e5cf8b010000d0bfd180d0b8d0b2d0b5d182"
        );
        let next_ids = Record::NextIds(IdAllocator { next_user: 5, next_event: 6 });
        assert_eq!(hex(&next_ids), "0305000000000000000600000000000000");
        let fixed = "0102030400000000010000000000000007000000000000007b68e5cf8b010000";
        let made = "0502030400000000010000000000000002010000000000 00".replace(' ', "");
        assert_eq!(hex(&revision(Some("hi"))), format!("04{fixed}{made}006869"));
        assert_eq!(hex(&revision(None)), format!("04{fixed}{made}01"));
        let made = "0503020400000000010000000000000002010000000000 00".replace(' ', "");
        let bob = UserId::new(0x0b0c).unwrap();
        for (action, what) in [
            (ModerationAction::Block(bob), "010c0b000000000000"),
            (ModerationAction::Unblock(bob), "020c0b000000000000"),
            (ModerationAction::CloseRegistration, "030000000000000000"),
            (ModerationAction::OpenRegistration, "040000000000000000"),
        ] {
            assert_eq!(hex(&moderation(action)), format!("05{made}{what}"));
        }
        let key = "020000000000000a0b0000000000000003";
        let value = "abababababababababababababababab7b68e5cf8b010000";
        for (has_value, continues, flags) in
            [(false, false, "00"), (true, false, "01"), (false, true, "02"), (true, true, "03")]
        {
            let value = if has_value { value } else { "" };
            let expected = format!("06{key}{flags}{value}");
            assert_eq!(hex_in_batch(&entry(has_value), continues), expected);
        }
    }

    #[test]
    fn every_kind_comes_back() {
        let next_ids = Record::NextIds(IdAllocator { next_user: 5, next_event: 6 });
        let revisions = [Some("hi"), Some(""), None].map(revision);
        let entries = [true, false].map(entry);
        let others = [user(), message(None), message(Some(7)), next_ids];
        let moderations = [
            ModerationAction::Block(UserId::FIRST),
            ModerationAction::CloseRegistration,
            ModerationAction::OpenRegistration,
        ]
        .map(moderation);
        let alone = others.into_iter().chain(revisions).chain(moderations).chain(entries.clone());
        let alone = alone.map(|record| LogRecord { record, continues: false });
        let continued = entries.into_iter().map(|record| LogRecord { record, continues: true });
        for logged in alone.chain(continued) {
            let mut bytes = Vec::new();
            logged.record.encode(logged.continues, &mut bytes);
            assert_eq!(LogRecord::decode(&bytes), Ok(logged));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let mut bytes = Vec::new();
        message(None).encode(false, &mut bytes);
        assert_eq!(LogRecord::decode(&[]), Err(DecodeError::Malformed));
        assert_eq!(LogRecord::decode(&bytes[..20]), Err(DecodeError::Malformed));
        assert_eq!(LogRecord::decode(&[9, 1, 2]), Err(DecodeError::UnknownKind(9)));
        assert_eq!(LogRecord::decode(&[6, 99, 2]), Err(DecodeError::UnknownKeyspace(99)));
        let mut flags = Vec::new();
        entry(true).encode(true, &mut flags);
        for bad in [0, 2, 4, 5, 7, 0x81] {
            flags[18] = bad;
            assert_eq!(LogRecord::decode(&flags), Err(DecodeError::Malformed), "{bad}");
        }
        for (what, whom) in [(0, 1), (5, 1), (1, 0), (2, 0), (3, 1), (4, 1)] {
            let mut action = Vec::new();
            moderation(ModerationAction::Block(UserId::FIRST)).encode(false, &mut action);
            (action[25], action[26]) = (what, whom);
            assert_eq!(LogRecord::decode(&action), Err(DecodeError::Malformed), "{what} {whom}");
        }
        *bytes.last_mut().unwrap() = 0xff;
        assert_eq!(LogRecord::decode(&bytes), Err(DecodeError::Malformed));
        let mut bytes = Vec::new();
        revision(None).encode(false, &mut bytes);
        bytes.push(b'x');
        assert_eq!(
            LogRecord::decode(&bytes),
            Err(DecodeError::Malformed),
            "a tombstone with a text"
        );
        bytes.pop();
        // A revision cannot be older than what it revises.
        bytes[33] = 1;
        assert_eq!(LogRecord::decode(&bytes), Err(DecodeError::Malformed));
    }

    #[test]
    fn there_is_nothing_beyond_the_last_timestamp() {
        for (record, at) in
            [(user(), 1 + 8), (message(None), 1 + 3 * 8), (revision(None), 1 + 6 * 8)]
        {
            let mut bytes = Vec::new();
            record.encode(false, &mut bytes);
            let last = Timestamp::MAX.millis();
            bytes[at..at + 8].copy_from_slice(&last.to_le_bytes());
            assert!(LogRecord::decode(&bytes).is_ok());
            bytes[at..at + 8].copy_from_slice(&(last + 1).to_le_bytes());
            assert_eq!(LogRecord::decode(&bytes), Err(DecodeError::Malformed));
        }
    }
}
