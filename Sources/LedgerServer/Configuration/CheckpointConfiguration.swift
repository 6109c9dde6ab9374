import Foundation
import Ledger

/// Who signs checkpoints of the ledger, how often, and where they go.
struct CheckpointConfiguration: Sendable {
    /// `signing_key`, and during a rotation `also_signing_keys`: each signs every checkpoint.
    var signers: [NoteSigner]
    /// `retired_keys`: public keys that have signed earlier checkpoints, and are published for who verifies those.
    var retired: [NoteKey]
    /// `interval_seconds`; 0: only when the server stops.
    var intervalSeconds: Int
    /// `directory`: where each checkpoint is also written, a file each.
    var directory: String?
    /// `url`: where each is also posted.
    var url: String?

    /// Which log it is: the name of the key that signs.
    var origin: String { signers.first?.key.name ?? "" }
    var publicKeys: [NoteKey] { signers.map(\.key) + retired }
}

extension ServerConfiguration {
    /// Reads `checkpoints`.
    static func checkpoints(_ file: inout ConfigurationSection) throws(ConfigurationError) -> CheckpointConfiguration? {
        guard var section = try file.section("checkpoints") else { return nil }
        let wrong = "must be a key that LedgerServer generate-key has made: PRIVATE+KEY+name+id+…"
        guard let text = try section.secret("signing_key") else {
            throw ConfigurationError("needs signing_key (or signing_key_file)", key: "checkpoints")
        }
        guard let signer = NoteSigner(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw ConfigurationError(wrong, key: "checkpoints.signing_key")
        }
        var signers = [signer]
        for text in try section.texts("also_signing_keys") ?? [] {
            guard let other = NoteSigner(text), other.key.name == signer.key.name, other.key != signer.key else {
                throw ConfigurationError(
                    "\(wrong), of the same name as signing_key", key: "checkpoints.also_signing_keys")
            }
            signers.append(other)
        }
        var retired: [NoteKey] = []
        for text in try section.texts("retired_keys") ?? [] {
            guard let key = NoteKey(text) else {
                throw ConfigurationError("must be public keys: name+id+…", key: "checkpoints.retired_keys")
            }
            retired.append(key)
        }
        let interval = try section.integer("interval_seconds", in: 0...604_800) ?? 3600
        let directory = try section.string("directory")
        let url = try section.string("url")
        try section.finish()
        if let url { try checkURL(url, key: "checkpoints.url", isLoopbackHTTPOnly: true) }
        return CheckpointConfiguration(
            signers: signers, retired: retired, intervalSeconds: interval, directory: directory, url: url)
    }
}
