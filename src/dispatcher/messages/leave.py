"""Leave: where a message goes when its attempt has ended, as SQL that settle and rescue share."""

# Each into its own part: through `messages` Postgres would look for the part of every row, a sixth of the whole cost.
_CARRIED = (
    "id, lane, recipient_phone, content, priority, deliver_at, attempt_count, attempts_before, created_at"
)

LEAVING = """m.id, m.lane, m.recipient_phone, m.content, m.priority, m.attempt_count, m.attempts_before, m.created_at,
              r.state, r.receipt_id,
              -- The day of `sent_at` says where the row goes: it stays near this clock, however wrong the sender's is.
              CASE r.state WHEN 'sent' THEN least(greatest(r.sent_at, now() - interval '1 day'), now()) END AS sent_at"""
"""What a row `m` of messages_sending with the result `r` takes along; `deliver_at` and `error` come with it."""

MOVED = f"""to_sent AS (
    INSERT INTO messages_sent ({_CARRIED}, state, sent_status, sent_at, receipt_id)
    SELECT {_CARRIED}, state, true, sent_at, receipt_id FROM leaving WHERE state = 'sent'
), to_pending AS (
    INSERT INTO messages_pending ({_CARRIED}, last_error)
    SELECT {_CARRIED}, error FROM leaving WHERE state = 'pending'
), to_held AS (
    INSERT INTO messages_held ({_CARRIED}, state, last_error, held_at)
    SELECT {_CARRIED}, state, error, now() FROM leaving WHERE state NOT IN ('sent', 'pending')
)"""
"""The rows of a CTE `leaving`, each to its part."""
