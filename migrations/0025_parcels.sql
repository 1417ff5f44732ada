-- Ranges of events that are being sent to the webhook, or are sent again when they are `due`. While a process sends a
-- parcel, `due` is the end of its lease. A parcel that was given up is due at infinity. The row whose `first` is 0 is no
-- parcel and stays: its `last` is the highest position that was ever put into a parcel.
CREATE TABLE IF NOT EXISTS parcels (
    first bigint PRIMARY KEY CHECK (first >= 0),
    last bigint NOT NULL CHECK (last >= first),
    attempts integer NOT NULL,
    due timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
