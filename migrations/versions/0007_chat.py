"""Users, conversations, members and chat messages.

`chat/tables.py` says what each is for. Chat messages are kept by month of their id; the service goes on from here.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE users (
    id text COLLATE "C" NOT NULL,
    name text,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);

CREATE TABLE conversations (
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    low_user text COLLATE "C",
    high_user text COLLATE "C",
    name text,
    last_seq bigint NOT NULL DEFAULT 0,
    last_id bigint NOT NULL,
    last_change bigint NOT NULL DEFAULT 0,
    member_count integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    CONSTRAINT conversations_pkey PRIMARY KEY (id),
    CONSTRAINT conversations_low_user_high_user_key UNIQUE (low_user, high_user),
    CONSTRAINT conversations_kind CHECK (kind IN ('dm', 'group')),
    CONSTRAINT conversations_pair CHECK (
        CASE kind WHEN 'dm' THEN low_user IS NOT NULL AND high_user IS NOT NULL AND low_user < high_user
        ELSE low_user IS NULL AND high_user IS NULL AND name IS NOT NULL END)
) WITH (fillfactor = 80);

CREATE TABLE members (
    conversation_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    role text NOT NULL DEFAULT 'member',
    joined_seq bigint NOT NULL,
    joined_id bigint NOT NULL,
    left_seq bigint,
    delivered_seq bigint NOT NULL,
    read_seq bigint NOT NULL,
    delivered_at timestamptz,
    read_at timestamptz,
    muted boolean NOT NULL DEFAULT false,
    CONSTRAINT members_pkey PRIMARY KEY (conversation_id, user_id),
    CONSTRAINT members_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES conversations (id),
    CONSTRAINT members_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT members_role CHECK (role IN ('owner', 'admin', 'member')),
    CONSTRAINT members_watermarks CHECK (joined_seq <= read_seq AND read_seq <= delivered_seq)
) WITH (fillfactor = 80);
CREATE INDEX members_user ON members (user_id, conversation_id);

CREATE TABLE chat_messages (
    conversation_id bigint NOT NULL,
    id bigint NOT NULL,
    seq bigint NOT NULL,
    sender_id text COLLATE "C" NOT NULL,
    client_id text,
    content text NOT NULL,
    client_at timestamptz,
    edited_at timestamptz,
    deleted_at timestamptz,
    change bigint,
    CONSTRAINT chat_messages_pkey PRIMARY KEY (conversation_id, id),
    CONSTRAINT chat_messages_content_length CHECK (char_length(content) <= 4096)
) PARTITION BY RANGE (id);
CREATE INDEX chat_messages_client ON chat_messages (conversation_id, sender_id, client_id)
    WHERE client_id IS NOT NULL;
CREATE INDEX chat_messages_change ON chat_messages (conversation_id, change) WHERE change IS NOT NULL;
"""

# An id is the milliseconds since 1970 times 2**20: `chat/ids.py`.
MONTHS = """
DO $$
DECLARE
    begins timestamp;
BEGIN
    FOR begins IN
        SELECT generate_series(month - interval '1 month', month + interval '2 months', interval '1 month')
        FROM date_trunc('month', now() AT TIME ZONE 'UTC') AS month
    LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF chat_messages FOR VALUES FROM (%s) TO (%s)',
            to_char(begins, '"chat_messages_"YYYYMM'),
            (extract(epoch FROM begins) * 1000)::bigint << 20,
            (extract(epoch FROM begins + interval '1 month') * 1000)::bigint << 20
        );
    END LOOP;
END $$
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(MONTHS)


def downgrade() -> None:
    for table in ("chat_messages", "members", "conversations", "users"):
        op.drop_table(table)
