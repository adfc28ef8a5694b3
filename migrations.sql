-- The store, one section a migration; each runs once, in a transaction of its own.
-- Times are UTC text with milliseconds and Z, money is micro-USD, JSON is text.

-- migration 1

CREATE TABLE store (                        -- one row: what this data directory is
  id TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;

CREATE TABLE accounts (
  id TEXT PRIMARY KEY,
  name TEXT,
  email TEXT,
  billing_mode TEXT NOT NULL CHECK (billing_mode IN ('standard', 'unlimited_grant')),
  created_at TEXT NOT NULL,
  max_cost_microusd INTEGER CHECK (max_cost_microusd > 0),      -- its budget for model calls, a calendar month in UTC
  max_tokens INTEGER CHECK (max_tokens > 0)
) STRICT;

CREATE TABLE api_keys (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  account_id TEXT NOT NULL REFERENCES accounts,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,                -- SHA-256 of the key: 144 random bits need no salt
  hint TEXT NOT NULL,                       -- its last four characters
  created_at TEXT NOT NULL,
  revoked_at TEXT
) STRICT;

CREATE TABLE providers (                    -- what the account uses where agent and task say nothing
  account_id TEXT NOT NULL REFERENCES accounts,
  provider TEXT NOT NULL CHECK (provider IN ('anthropic', 'openai', 'openrouter')),
  api_key BLOB,                             -- encrypted with secret.key
  base_url TEXT,
  is_default INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
  updated_at TEXT NOT NULL,
  PRIMARY KEY (account_id, provider)
) STRICT;
CREATE UNIQUE INDEX one_default_provider ON providers (account_id) WHERE is_default;

CREATE TABLE containers (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  account_id TEXT REFERENCES accounts,      -- NULL: a standard one
  name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  hidden INTEGER NOT NULL DEFAULT 0 CHECK (hidden IN (0, 1)),   -- made for an agent's `runtime`, in no list
  archived_at TEXT,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX containers_of_account ON containers (account_id, number);

CREATE TABLE container_versions (
  id TEXT PRIMARY KEY,
  container_id TEXT NOT NULL REFERENCES containers (id),
  number INTEGER NOT NULL,
  preset TEXT,
  image TEXT,
  contract_version TEXT NOT NULL DEFAULT '1',
  created_at TEXT NOT NULL,
  UNIQUE (container_id, number),
  CHECK ((preset IS NULL) <> (image IS NULL))
) STRICT;

CREATE TABLE files (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  account_id TEXT NOT NULL REFERENCES accounts,
  filename TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  sha256 TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX files_of_account ON files (account_id, number);

CREATE TABLE uploads (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts,
  filename TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size_bytes INTEGER,                       -- as declared, if it was
  storage_id TEXT UNIQUE,                   -- set when the bytes are there; the name of the bytes on disk
  received_bytes INTEGER,
  sha256 TEXT,
  file_id TEXT REFERENCES files (id) ON DELETE CASCADE,
  expires_at TEXT NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX uploads_by_expiry ON uploads (expires_at) WHERE file_id IS NULL;

CREATE TABLE agents (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  account_id TEXT REFERENCES accounts,      -- NULL: a standard one
  name TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '',
  archived_at TEXT,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX agents_of_account ON agents (account_id, number);

CREATE TABLE agent_versions (
  id TEXT PRIMARY KEY,
  agent_id TEXT NOT NULL REFERENCES agents (id),
  number INTEGER NOT NULL,
  container_version_id TEXT NOT NULL REFERENCES container_versions,
  base_prompt TEXT NOT NULL,
  defaults TEXT NOT NULL,                   -- JSON: AgentDefaults without the key
  provider_api_key BLOB,                    -- encrypted with secret.key
  skills TEXT NOT NULL DEFAULT '[]',        -- JSON: [{"skill"}]
  created_at TEXT NOT NULL,
  UNIQUE (agent_id, number)
) STRICT;

CREATE TABLE agent_version_files (
  agent_version_id TEXT NOT NULL REFERENCES agent_versions,
  file_id TEXT NOT NULL REFERENCES files (id),
  position INTEGER NOT NULL,     -- behind the key: else SQLite 3.40's integrity_check sees NULLs where there are none
  PRIMARY KEY (agent_version_id, file_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_versions_of_file ON agent_version_files (file_id);

CREATE TABLE tasks (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  account_id TEXT NOT NULL REFERENCES accounts,
  agent_id TEXT NOT NULL REFERENCES agents (id),
  agent_version_id TEXT NOT NULL REFERENCES agent_versions,
  container_version_id TEXT NOT NULL REFERENCES container_versions,
  mode TEXT NOT NULL CHECK (mode IN ('autonomous', 'conversation')),
  status TEXT NOT NULL CHECK (status IN
    ('pending', 'running', 'awaiting_input', 'hibernating', 'finished', 'failed', 'cancelled', 'expired')),
  title TEXT NOT NULL,
  instructions TEXT NOT NULL,
  metadata TEXT NOT NULL DEFAULT '{}',      -- JSON
  overrides TEXT NOT NULL DEFAULT '{}',     -- JSON, as asked, without the key
  provider_api_key BLOB,                    -- the override's, encrypted with secret.key

  provider TEXT NOT NULL,                   -- what it runs with, resolved at dispatch
  model TEXT NOT NULL,
  weak_model TEXT,
  internet_access INTEGER NOT NULL CHECK (internet_access IN (0, 1)),
  allowed_hosts TEXT NOT NULL DEFAULT '[]' CHECK (allowed_hosts = '[]' OR NOT internet_access),   -- JSON
  max_runtime_seconds INTEGER NOT NULL CHECK (max_runtime_seconds BETWEEN 1 AND 604800),
  soft_finish_after_seconds INTEGER CHECK (soft_finish_after_seconds < max_runtime_seconds),
  max_cost_microusd INTEGER CHECK (max_cost_microusd > 0),      -- its budget for model calls
  max_tokens INTEGER CHECK (max_tokens > 0),
  output_policy TEXT NOT NULL,              -- JSON
  runtime_region TEXT NOT NULL CHECK (runtime_region IN ('any', 'eu')),
  session_ttl_seconds INTEGER,

  turn_number INTEGER,                      -- conversations: the turn at work, or the last one
  turn_status TEXT CHECK (turn_status IN ('queued', 'running', 'completed', 'failed')),
  hibernate_until TEXT,
  wake_due_id TEXT,                         -- names this sleep: a wake for another one is refused
  to_tell TEXT CHECK (to_tell IN ('deadline', 'message', 'external_wake', 'switched')),   -- until the agent was told
  expires_at TEXT,                          -- awaiting_input only: when the session ends
  created_at TEXT NOT NULL,
  started_at TEXT,
  completed_at TEXT,
  result TEXT,
  completion TEXT CHECK (completion IN ('complete', 'incomplete')),
  error TEXT,

  running_since TEXT,                       -- while running
  used_ms INTEGER NOT NULL DEFAULT 0,       -- container time up to running_since
  turn_used_ms INTEGER NOT NULL DEFAULT 0,  -- what of it was used before this turn
  attempt_number INTEGER NOT NULL DEFAULT 1,
  deaths INTEGER NOT NULL DEFAULT 0,        -- in a row, without a tool call or an answer between them
  has_container INTEGER NOT NULL DEFAULT 0 CHECK (has_container IN (0, 1)),   -- at work, or stopped and kept
  spent_microusd INTEGER NOT NULL DEFAULT 0,    -- sums of its model_calls, kept by triggers
  spent_tokens INTEGER NOT NULL DEFAULT 0,
  budget_told_at TEXT,                      -- when a budget had been used to four fifths
  budget_asked_at TEXT,                     -- when a call did not fit any more: from here on what was kept for `finish` is used
  budget_error TEXT,                        -- that is used up too
  workspace_removed_at TEXT,
  kept_bytes INTEGER NOT NULL DEFAULT 0,    -- what was on disk when its container was stopped and kept last
  swept_at TEXT,                            -- when its events and files were removed for their age
  CHECK (mode = 'conversation' OR (turn_number IS NULL AND turn_status IS NULL)),
  CHECK ((status IN ('finished', 'failed', 'cancelled', 'expired')) = (completed_at IS NOT NULL)),
  CHECK ((status = 'running') = (running_since IS NOT NULL)),
  CHECK ((status = 'hibernating') >= (hibernate_until IS NOT NULL))
) STRICT;
CREATE INDEX tasks_of_account ON tasks (account_id, number);
CREATE INDEX tasks_of_account_by_status ON tasks (account_id, status, number);
CREATE INDEX tasks_of_agent ON tasks (agent_id, account_id, number);
CREATE INDEX tasks_of_agent_by_status ON tasks (agent_id, account_id, status, number);
CREATE INDEX tasks_alive ON tasks (status, number)
  WHERE status IN ('pending', 'running', 'awaiting_input', 'hibernating');
CREATE INDEX tasks_with_bytes ON tasks (account_id, kept_bytes) WHERE kept_bytes > 0;
CREATE INDEX tasks_with_workspace ON tasks (completed_at) WHERE workspace_removed_at IS NULL;
CREATE INDEX tasks_unswept ON tasks (completed_at) WHERE swept_at IS NULL;

CREATE TABLE task_inputs (
  task_id TEXT NOT NULL REFERENCES tasks (id),
  file_id TEXT NOT NULL REFERENCES files (id),
  position INTEGER NOT NULL,     -- behind the key: else SQLite 3.40's integrity_check sees NULLs where there are none
  PRIMARY KEY (task_id, file_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_of_input ON task_inputs (file_id);

CREATE TABLE task_outputs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id TEXT NOT NULL REFERENCES tasks (id),
  file_id TEXT NOT NULL UNIQUE REFERENCES files (id),
  output_name TEXT,
  message_id TEXT,                          -- given with `attach` in a conversation
  UNIQUE (task_id, output_name)
) STRICT;
CREATE INDEX outputs_of_task ON task_outputs (task_id, number);

-- What was delivered with `finish` or `attach`, by the delivery's own key: one whose answer was lost is not taken twice.
CREATE TABLE deliveries (
  task_id TEXT NOT NULL REFERENCES tasks (id),
  key TEXT NOT NULL,
  PRIMARY KEY (task_id, key)
) STRICT, WITHOUT ROWID;

-- What happened, in order: the audit trail, the live stream and the bill.
CREATE TABLE task_events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id TEXT NOT NULL REFERENCES tasks (id),
  type TEXT NOT NULL,
  data TEXT NOT NULL,                       -- JSON
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_task ON task_events (task_id, number);

-- One container's life for one task.
CREATE TABLE runs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  task_id TEXT NOT NULL REFERENCES tasks (id),
  image TEXT,
  container_id TEXT,
  guest_seq INTEGER NOT NULL DEFAULT 0,     -- the last of the guest's events that is stored
  nudges INTEGER NOT NULL DEFAULT 0,        -- how often the agent was told to call finish
  opened_at TEXT,                           -- when it was first told something
  soft_told_at TEXT,                        -- when it was told to wrap up
  budget_asked_at TEXT,                     -- when it was asked to finish with what it has
  settled_at TEXT,                          -- Pi said that it is done with what it was asked; NULL while it works
  settled_error TEXT,                       -- and what went wrong, if something did
  last_words TEXT,                          -- the end of Pi's stderr, where it died
  launched TEXT,                            -- JSON: [mode, provider, model, weak model] that Pi was started with
  walls TEXT,                               -- JSON: what this machine could enforce, warnings of Podman's
  created_at TEXT NOT NULL,
  started_at TEXT,
  ended_at TEXT
) STRICT;
CREATE UNIQUE INDEX one_run_at_a_time ON runs (task_id) WHERE ended_at IS NULL;
CREATE INDEX runs_of_task ON runs (task_id, number);

CREATE TABLE messages (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  task_id TEXT NOT NULL REFERENCES tasks (id),
  turn_number INTEGER,
  attempt_number INTEGER NOT NULL DEFAULT 1,
  role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
  status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed')),
  content TEXT NOT NULL,
  error TEXT,
  overrides TEXT NOT NULL DEFAULT '{}',     -- JSON, without the key: in force from its turn on
  provider_api_key BLOB,                    -- theirs, encrypted with secret.key
  run_id TEXT,                              -- the run whose Pi has it
  sequence INTEGER NOT NULL,                -- task_events.number of its creation
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX messages_of_task ON messages (task_id, number);

CREATE TABLE message_inputs (
  message_id TEXT NOT NULL REFERENCES messages (id),
  file_id TEXT NOT NULL REFERENCES files (id),
  position INTEGER NOT NULL,     -- behind the key: else SQLite 3.40's integrity_check sees NULLs where there are none
  PRIMARY KEY (message_id, file_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_of_input ON message_inputs (file_id);

CREATE TABLE activities (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  task_id TEXT NOT NULL REFERENCES tasks (id),
  turn_number INTEGER,
  attempt_number INTEGER NOT NULL,
  started_sequence INTEGER NOT NULL,        -- task_events.number
  completed_sequence INTEGER,
  call_id TEXT NOT NULL,
  tool_key TEXT NOT NULL,
  input TEXT,                               -- JSON
  input_omitted_reason TEXT,
  status TEXT CHECK (status IN ('completed', 'failed')),
  error_code TEXT,
  started_at TEXT NOT NULL,
  completed_at TEXT,
  duration_ms INTEGER
) STRICT;
CREATE INDEX activities_of_task ON activities (task_id, number);
CREATE INDEX activities_open ON activities (task_id, call_id) WHERE completed_at IS NULL;

-- Each from before it starts: what it may use at worst is counted until it has said what it did use.
CREATE TABLE model_calls (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id TEXT NOT NULL REFERENCES accounts,
  task_id TEXT NOT NULL REFERENCES tasks (id),
  turn_number INTEGER,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  input_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  cache_read_tokens INTEGER NOT NULL DEFAULT 0,
  cache_write_tokens INTEGER NOT NULL DEFAULT 0,
  cost_microusd INTEGER,
  status INTEGER,                           -- NULL: at work; 0: the server was killed meanwhile; else HTTP's
  estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1)),   -- its end was not told
  counted_microusd INTEGER NOT NULL CHECK (counted_microusd >= 0),    -- against budgets
  counted_tokens INTEGER NOT NULL CHECK (counted_tokens >= 0),
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX calls_of_task ON model_calls (task_id);
CREATE INDEX calls_at_work ON model_calls (account_id, task_id) WHERE status IS NULL;

CREATE TABLE spending (                     -- sums of an account's model_calls, kept by triggers
  account_id TEXT NOT NULL REFERENCES accounts,
  month TEXT NOT NULL,                      -- 2026-03
  microusd INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  PRIMARY KEY (account_id, month)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER call_is_counted AFTER INSERT ON model_calls BEGIN
  INSERT INTO spending VALUES (NEW.account_id, substr(NEW.created_at, 1, 7), NEW.counted_microusd, NEW.counted_tokens)
    ON CONFLICT DO UPDATE SET microusd = microusd + excluded.microusd, tokens = tokens + excluded.tokens;
  UPDATE tasks SET spent_microusd = spent_microusd + NEW.counted_microusd,
    spent_tokens = spent_tokens + NEW.counted_tokens WHERE id = NEW.task_id;
END;
CREATE TRIGGER call_is_counted_anew AFTER UPDATE OF counted_microusd, counted_tokens ON model_calls BEGIN
  UPDATE spending SET microusd = microusd + NEW.counted_microusd - OLD.counted_microusd,
    tokens = tokens + NEW.counted_tokens - OLD.counted_tokens
    WHERE account_id = NEW.account_id AND month = substr(NEW.created_at, 1, 7);
  UPDATE tasks SET spent_microusd = spent_microusd + NEW.counted_microusd - OLD.counted_microusd,
    spent_tokens = spent_tokens + NEW.counted_tokens - OLD.counted_tokens WHERE id = NEW.task_id;
END;

-- Prepaid credit: the balance is the sum of the amounts. A task has one reservation, and one settlement that takes its place.
CREATE TABLE ledger (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id TEXT NOT NULL REFERENCES accounts,
  task_id TEXT REFERENCES tasks (id),
  kind TEXT NOT NULL CHECK (kind IN ('grant', 'reservation', 'release', 'charge')),
  amount_microusd INTEGER NOT NULL,
  created_at TEXT NOT NULL
) STRICT;
CREATE INDEX ledger_of_account ON ledger (account_id);
CREATE INDEX ledger_of_task ON ledger (task_id, kind);

CREATE TABLE idempotency_keys (
  account_id TEXT NOT NULL REFERENCES accounts,
  path TEXT NOT NULL,
  key TEXT NOT NULL,
  body_hash TEXT NOT NULL,
  status INTEGER,                           -- NULL while the first one is at work
  answer TEXT,
  created_at TEXT NOT NULL,
  PRIMARY KEY (account_id, path, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- migration 2

ALTER TABLE model_calls ADD COLUMN ended_at TEXT;       -- NULL too for calls that ended before there was this column

-- A new task has no entry of these to write.
DROP INDEX tasks_with_workspace;
DROP INDEX tasks_unswept;
CREATE INDEX tasks_with_workspace ON tasks (completed_at)
  WHERE workspace_removed_at IS NULL AND completed_at IS NOT NULL;
CREATE INDEX tasks_unswept ON tasks (completed_at) WHERE swept_at IS NULL AND completed_at IS NOT NULL;

-- migration 3

-- SQLite uses an index of some rows only where the query says the same of them, and none asks for all that are alive.
DROP INDEX tasks_alive;
CREATE INDEX tasks_by_status ON tasks (status);
-- Those of an account or an agent that are alive are found by their status alone, as they are few: two entries less to
-- write for a new task.
DROP INDEX tasks_of_account_by_status;
DROP INDEX tasks_of_agent_by_status;
CREATE INDEX tasks_of_account_by_status ON tasks (account_id, status, number) WHERE completed_at IS NOT NULL;
CREATE INDEX tasks_of_agent_by_status ON tasks (agent_id, account_id, status, number) WHERE completed_at IS NOT NULL;
CREATE INDEX tasks_ended_with_container ON tasks (number) WHERE completed_at IS NOT NULL AND has_container;
CREATE INDEX calls_of_turn ON model_calls (task_id, turn_number) WHERE turn_number IS NOT NULL;
CREATE INDEX outputs_of_message ON task_outputs (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX uploads_of_file ON uploads (file_id) WHERE file_id IS NOT NULL;    -- looked for when a file is deleted

ALTER TABLE accounts ADD COLUMN balance_microusd INTEGER NOT NULL DEFAULT 0;    -- the sum of its ledger, kept by a trigger
UPDATE accounts SET balance_microusd =
  (SELECT coalesce(sum(amount_microusd), 0) FROM ledger WHERE account_id = accounts.id);
CREATE TRIGGER entry_is_counted AFTER INSERT ON ledger BEGIN
  UPDATE accounts SET balance_microusd = balance_microusd + NEW.amount_microusd WHERE id = NEW.account_id;
END;

ALTER TABLE accounts ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;        -- of its files, kept by triggers
UPDATE accounts SET stored_bytes = (SELECT coalesce(sum(size_bytes), 0) FROM files WHERE account_id = accounts.id);
CREATE TRIGGER file_is_counted AFTER INSERT ON files BEGIN
  UPDATE accounts SET stored_bytes = stored_bytes + NEW.size_bytes WHERE id = NEW.account_id;
END;
CREATE TRIGGER file_is_no_longer_counted AFTER DELETE ON files BEGIN
  UPDATE accounts SET stored_bytes = stored_bytes - OLD.size_bytes WHERE id = OLD.account_id;
END;

-- migration 4

ALTER TABLE tasks ADD COLUMN uid INTEGER;       -- of its agent, from its first start until its workspace is removed
CREATE UNIQUE INDEX tasks_by_uid ON tasks (uid) WHERE uid IS NOT NULL;
UPDATE OR IGNORE tasks SET uid = 20000 + number % 40000     -- as it was until now
  WHERE workspace_removed_at IS NULL AND EXISTS (SELECT 1 FROM runs WHERE task_id = tasks.id);

-- migration 5

-- With the title, so that a search reads no task that is not found.
DROP INDEX tasks_of_account;
CREATE INDEX tasks_of_account ON tasks (account_id, number, title);
DROP INDEX tasks_of_agent;
CREATE INDEX tasks_of_agent ON tasks (agent_id, account_id, number, title);

-- migration 6

ALTER TABLE activities ADD COLUMN output TEXT;      -- what a tool at work has printed last; gone once it has ended

-- migration 7

CREATE TABLE clock (                -- one row: the clocks when a server looked last
  id INTEGER PRIMARY KEY CHECK (id = 1),
  boot TEXT,                        -- the machine's boot id; NULL until a server has looked
  wall TEXT,
  steady_ms INTEGER,                -- CLOCK_MONOTONIC
  elapsed_ms INTEGER,               -- CLOCK_BOOTTIME
  ahead_ms INTEGER NOT NULL DEFAULT 0   -- by how much the wall clock was set forward since the store was made
) STRICT;
INSERT INTO clock (id) VALUES (1);

ALTER TABLE tasks ADD COLUMN hibernate_is_relative INTEGER NOT NULL DEFAULT 0   -- it sleeps for a time, not until a date
  CHECK (hibernate_is_relative IN (0, 1));

-- completed_at by a clock that nobody sets: retention counts from here, so that no step of the clock ends it.
ALTER TABLE tasks ADD COLUMN ended_on TEXT;
UPDATE tasks SET ended_on = completed_at;
CREATE TRIGGER end_is_dated AFTER UPDATE OF completed_at ON tasks WHEN NEW.completed_at IS NOT OLD.completed_at BEGIN
  UPDATE tasks SET ended_on = strftime(
      '%Y-%m-%dT%H:%M:%fZ', NEW.completed_at, printf('%+.3f seconds', (SELECT ahead_ms FROM clock) / -1000.0))
    WHERE number = NEW.number;
END;
DROP INDEX tasks_with_workspace;
DROP INDEX tasks_unswept;
CREATE INDEX tasks_with_workspace ON tasks (ended_on) WHERE workspace_removed_at IS NULL AND ended_on IS NOT NULL;
CREATE INDEX tasks_unswept ON tasks (ended_on) WHERE swept_at IS NULL AND ended_on IS NOT NULL;

-- migration 8

ALTER TABLE tasks ADD COLUMN slot TEXT;         -- what its container and volumes are called, where it is of an earlier version
UPDATE tasks SET slot = 'agentcontainer-' || id
  WHERE workspace_removed_at IS NULL AND EXISTS (SELECT 1 FROM runs WHERE task_id = tasks.id);
CREATE INDEX tasks_with_slot ON tasks (number) WHERE slot IS NOT NULL;

-- migration 9

-- A notice says of what kind it is under one name: `type` is the event's own.
UPDATE task_events SET data = json_set(json_remove(data, '$.type'), '$.kind', json_extract(data, '$.type'))
  WHERE type = 'notice' AND json_extract(data, '$.type') IS NOT NULL;

-- migration 10

ALTER TABLE model_calls ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;  -- one more for each that failed before it, in a row
ALTER TABLE model_calls ADD COLUMN error TEXT;          -- what went wrong, for people
ALTER TABLE model_calls ADD COLUMN error_detail TEXT;   -- and what the provider sent

-- What has come of an answer that is not whole yet: it is kept if the answer is cut.
CREATE TABLE unfinished_answers (task_id TEXT PRIMARY KEY REFERENCES tasks (id), content TEXT NOT NULL) STRICT;

-- migration 11

ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'all' CHECK (scope IN ('all', 'metrics'));
ALTER TABLE api_keys ADD COLUMN expires_at TEXT;

-- migration 12

ALTER TABLE providers ADD COLUMN api TEXT CHECK (api IN ('responses', 'chat-completions', 'messages'));

CREATE TABLE provider_models (              -- what models can take
  account_id TEXT NOT NULL REFERENCES accounts,
  provider TEXT NOT NULL CHECK (provider IN ('anthropic', 'openai', 'openrouter')),
  model TEXT NOT NULL,                      -- '': all of the provider's
  context_window INTEGER,                   -- tokens
  max_output_tokens INTEGER,
  images INTEGER CHECK (images IN (0, 1)),
  free INTEGER CHECK (free IN (0, 1)),      -- it costs nothing
  learned_window INTEGER,                   -- from an error of the provider's
  PRIMARY KEY (account_id, provider, model)
) STRICT, WITHOUT ROWID;

ALTER TABLE tasks ADD COLUMN learned_window INTEGER;    -- its Pi has to know it: a run that does not is started anew
ALTER TABLE runs ADD COLUMN base_url TEXT;              -- of the provider, when the run began: it stays with it
ALTER TABLE runs ADD COLUMN provider_key BLOB;          -- and with this key, if the address is changed; encrypted

-- migration 13

ALTER TABLE container_versions ADD COLUMN writable_paths TEXT NOT NULL DEFAULT '[]';   -- JSON: directories of the image

-- migration 14

ALTER TABLE tasks ADD COLUMN skills TEXT NOT NULL DEFAULT '[]';     -- of its own, beside its agent's version's

-- migration 15

-- Those that are waiting or at work are few, whatever an agent has said before.
CREATE INDEX messages_at_work ON messages (task_id) WHERE status IN ('queued', 'running');

-- migration 16

CREATE TABLE usage (                -- sums of a task's model_calls that are over, kept by triggers
  task_id TEXT NOT NULL REFERENCES tasks (id),
  turn_number INTEGER NOT NULL,     -- 0: all of the task
  model TEXT NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cache_read_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  cost_microusd INTEGER NOT NULL,
  calls INTEGER NOT NULL,
  unpriced INTEGER NOT NULL,        -- calls without a price
  estimated INTEGER NOT NULL,       -- calls whose end was not told, and what these count against budgets
  estimated_microusd INTEGER NOT NULL,
  estimated_tokens INTEGER NOT NULL,
  written_tokens INTEGER NOT NULL,  -- at most
  PRIMARY KEY (task_id, turn_number, model)
) STRICT, WITHOUT ROWID;

-- What each call that is over adds to its task's sums, and to those of its turn.
CREATE VIEW used AS SELECT number, task_id, of_turn * coalesce(turn_number, 0) AS turn_number, model,
  input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, coalesce(cost_microusd, 0) AS cost_microusd,
  1 AS calls, cost_microusd IS NULL AS unpriced, estimated, estimated * counted_microusd AS estimated_microusd,
  estimated * counted_tokens AS estimated_tokens, max(output_tokens, estimated * counted_tokens) AS written_tokens
  FROM model_calls JOIN (SELECT 0 AS of_turn UNION ALL SELECT 1) ON NOT of_turn OR turn_number IS NOT NULL
  WHERE status IS NOT NULL;

INSERT INTO usage SELECT task_id, turn_number, model, sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
  sum(cache_write_tokens), sum(cost_microusd), sum(calls), sum(unpriced), sum(estimated), sum(estimated_microusd),
  sum(estimated_tokens), sum(written_tokens) FROM used GROUP BY task_id, turn_number, model;

CREATE TRIGGER end_is_counted AFTER UPDATE OF status ON model_calls WHEN OLD.status IS NULL BEGIN
  INSERT INTO usage SELECT task_id, turn_number, model, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, cost_microusd, calls, unpriced, estimated, estimated_microusd, estimated_tokens, written_tokens
    FROM used WHERE number = NEW.number
    ON CONFLICT DO UPDATE SET
      input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
      cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
      cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
      cost_microusd = cost_microusd + excluded.cost_microusd, calls = calls + 1,
      unpriced = unpriced + excluded.unpriced, estimated = estimated + excluded.estimated,
      estimated_microusd = estimated_microusd + excluded.estimated_microusd,
      estimated_tokens = estimated_tokens + excluded.estimated_tokens,
      written_tokens = written_tokens + excluded.written_tokens;
END;
-- Each call is at work before it is over; should one ever be written that is over already, it counts as well.
CREATE TRIGGER call_that_is_over_is_counted AFTER INSERT ON model_calls WHEN NEW.status IS NOT NULL BEGIN
  UPDATE model_calls SET status = NULL WHERE number = NEW.number;
  UPDATE model_calls SET status = NEW.status WHERE number = NEW.number;
END;

-- migration 17

-- How many tasks are pending, by blocks of 128 numbers: a task's position in the queue is a sum over the blocks before
-- its own, and need not be counted out.
CREATE TABLE pending_blocks (
  block INTEGER PRIMARY KEY,        -- tasks.number / 128
  tasks INTEGER NOT NULL            -- kept by triggers
) STRICT;
INSERT INTO pending_blocks SELECT number / 128, count(*) FROM tasks WHERE status = 'pending' GROUP BY 1;
CREATE TRIGGER pending_from_the_start AFTER INSERT ON tasks WHEN NEW.status = 'pending' BEGIN
  INSERT INTO pending_blocks VALUES (NEW.number / 128, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER pending_again AFTER UPDATE OF status ON tasks WHEN NEW.status = 'pending' AND OLD.status <> 'pending' BEGIN
  INSERT INTO pending_blocks VALUES (NEW.number / 128, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER pending_no_more AFTER UPDATE OF status ON tasks WHEN OLD.status = 'pending' AND NEW.status <> 'pending' BEGIN
  UPDATE pending_blocks SET tasks = tasks - 1 WHERE block = NEW.number / 128;
  DELETE FROM pending_blocks WHERE block = NEW.number / 128 AND tasks = 0;
END;

-- migration 18

-- A slot: a container with its volumes, run directory and uid, as the backend knows it. It is one task's, from the
-- task's first start until its workspace is removed. One that was made for its task has the task's id.
CREATE TABLE slots (
  task_id TEXT PRIMARY KEY REFERENCES tasks (id),
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,        -- of the container, with which those of its volumes begin
  uid INTEGER UNIQUE                -- of its agent; NULL: the next start claims one
) STRICT, WITHOUT ROWID;
INSERT INTO slots SELECT id, id, coalesce(slot, 'agentcontainer-' || (SELECT id FROM store) || '-' || id), uid
  FROM tasks WHERE uid IS NOT NULL OR slot IS NOT NULL;
DROP INDEX tasks_by_uid;
DROP INDEX tasks_with_slot;
ALTER TABLE tasks DROP COLUMN uid;
ALTER TABLE tasks DROP COLUMN slot;
