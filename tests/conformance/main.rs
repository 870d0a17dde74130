//! The conformance suite: the cases that every implementation of [`Backend`] has to pass.
//!
//! A new store is a [`subject::Subject`] and a line in each list below that it belongs to; a new
//! case is a function and its name in a list. Random cases are reproducible: a failure prints the
//! seed, and `VECHE_TEST_SEED` sets it.
//!
//! [`Backend`]: veche::store::Backend

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by where it stops")]

mod acts;
mod conversations;
mod export;
#[path = "../extent/mod.rs"]
mod extent;
mod kill;
mod owner;
mod pages;
mod pair;
mod random;
mod reference;
mod restarts;
mod restores;
mod retries;
mod rules;
mod seed;
mod sessions;
mod snapshot;
mod subject;

/// Makes a test of every case for every store.
macro_rules! conformance {
    ($($store:ident: $subject:ident),+; $cases:tt) => {
        $(mod $store { conformance!(@tests $subject $cases); })+
    };
    (@tests $subject:ident [$($module:ident::$case:ident),+ $(,)?]) => {
        $(#[test] fn $case() { crate::$module::$case::<crate::subject::$subject>(); })+
    };
}

/// Cases for every store.
mod any {
    conformance! {
        memory: Memory, sled: Sled;
        [
            rules::ids_ascend_without_gaps,
            rules::names_are_unique_whatever_their_case,
            rules::a_message_to_nobody_is_refused,
            rules::writes_are_read_before_the_sync,
            rules::every_value_comes_back_as_it_was_given,
            rules::missing_items_are_not_found,
            rules::history_is_every_message_in_order,
            rules::a_revision_is_an_event_of_its_own,
            rules::revisions_that_are_buried_are_found,
            rules::an_identity_is_adopted_only_while_empty,
            rules::restored_records_keep_their_ids,
            rules::a_refused_record_changes_nothing,
            rules::records_about_nobody_are_refused,
            rules::the_last_id_is_given_out_once,
            retries::a_message_sent_twice_is_posted_once,
            retries::the_oldest_key_gives_way,
            retries::keys_without_a_secret_are_found,
            retries::keys_of_other_secrets_are_told,
            conversations::every_page_is_exact,
            conversations::marks_only_move_forwards,
            conversations::unread_messages_are_counted_up_to_a_bound,
            conversations::buried_conversations_are_found,
            sessions::a_session_is_there_until_it_ends,
            sessions::of_too_many_sessions_the_oldest_ends,
            sessions::a_password_is_changed_with_all_sessions,
            sessions::an_account_that_has_ended_is_a_tombstone,
            acts::a_moderation_action_is_an_event,
            acts::a_blocked_account_is_closed,
            acts::registration_is_closed_and_opened,
            acts::every_window_of_blocks_is_exact,
            pages::an_empty_store_has_empty_pages,
            pages::messages_lie_in_their_mailboxes,
            pages::every_window_is_exact,
            pages::every_window_is_exact_between_gaps,
            pages::every_window_of_users_is_exact,
            pages::buried_messages_are_found,
            pages::following_sees_everything_once,
            pages::going_back_sees_everything_once,
            random::every_answer_is_the_references,
            snapshot::a_snapshot_changes_nothing,
            restores::a_backup_restored_twice_gives_nothing_out_again,
            restores::every_session_ends,
            restores::every_epoch_of_a_chain_is_remembered,
            restores::the_oldest_epoch_gives_way,
            restores::a_move_keeps_what_it_was,
            restores::too_few_ids_are_refused,
        ]
    }
}

/// Cases for every store that outlives its process.
mod persisted {
    conformance! {
        sled: Sled;
        [
            restarts::what_was_synced_survives,
            restarts::a_prefix_of_the_unsynced_writes_survives,
            restarts::identity_and_counters_survive,
            restarts::buried_messages_survive,
            conversations::conversations_and_marks_survive,
            retries::keys_survive,
            retries::a_message_and_its_key_survive_together,
            sessions::a_change_survives_whole,
            acts::a_block_survives_whole,
            snapshot::a_snapshot_is_what_was_synced,
            restores::past_store_ids_survive,
            restores::a_backup_of_a_restored_store_is_restored,
            snapshot::a_snapshot_goes_on_after_a_restart,
        ]
    }
}
