-- Conversations as trees of exchanges. Times are Unix times in seconds.
CREATE TABLE conversations (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL DEFAULT '',
    server TEXT NOT NULL DEFAULT '',  -- the address of a server that is not r1tui's own, which was asked last
    created_s REAL NOT NULL,
    updated_s REAL NOT NULL,
    opened_s REAL NOT NULL,
    deleted_s REAL,                   -- NULL: it is not deleted
    shown INTEGER                     -- the number of the exchange at which the shown path ends
);
CREATE INDEX conversations_by_date ON conversations (updated_s);

CREATE TABLE exchanges (
    key INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (key) ON DELETE CASCADE,
    number INTEGER NOT NULL,          -- in the order in which they were asked
    parent INTEGER,                   -- the number of the exchange that it follows
    asked_s REAL NOT NULL,
    state TEXT NOT NULL,
    base TEXT,                        -- what it had when a later request went on with it, as JSON: the record of that
                                      -- request has all that follows
    cut TEXT NOT NULL DEFAULT '',     -- what cut it off
    tokens INTEGER NOT NULL DEFAULT 0,
    thinking_tokens INTEGER NOT NULL DEFAULT 0,
    thinking_s REAL,
    cause TEXT NOT NULL DEFAULT '',
    remedy TEXT NOT NULL DEFAULT '',
    answer_id TEXT NOT NULL DEFAULT '',
    inside_thinking INTEGER NOT NULL DEFAULT 0,
    model TEXT NOT NULL DEFAULT '',
    figures TEXT,                     -- the event that ended it, as JSON
    question TEXT NOT NULL,           -- what may be long comes last: nobody who needs the rest reads over it
    answer TEXT NOT NULL DEFAULT '',
    thinking TEXT NOT NULL DEFAULT '',
    UNIQUE (conversation, number)
);

-- What has come of an answer that is running, in order; a part of its exchange when it has ended.
CREATE TABLE pieces (
    key INTEGER PRIMARY KEY,
    exchange INTEGER NOT NULL REFERENCES exchanges (key) ON DELETE CASCADE,
    answer TEXT NOT NULL,
    thinking TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    thinking_tokens INTEGER NOT NULL,
    thinking_s REAL
);
CREATE INDEX pieces_by_exchange ON pieces (exchange);
