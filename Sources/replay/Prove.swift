import ArgumentParser
import Auditing
import Foundation
import Ledger
import LedgerSQLite
import Projections

/// `replay prove DB`
struct Prove: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a proof that events are in a signed checkpoint, or that one checkpoint grew out of another.",
        discussion: """
            Example: replay prove ledger.sqlite --charge req_0000000000000000000000

            --charge proves the charge with its price, its grants, its hold and its reversals; --account with --month all events
            of a statement; --from-checkpoint FILE that nothing before that checkpoint was changed. The proof goes to standard
            output (C2SP tlog-proof, one behind the other; for checkpoints the body of C2SP tlog-witness). 'replay
            check-proof' needs neither the ledger nor a server. Exit codes: 0 proven, 1 the ledger contradicts a checkpoint,
            2 unusable or without a checkpoint, 3 no such charge or account.
            """)

    @Argument(help: "The ledger's database file.")
    var database: String

    @Option(help: "The id of a request that was charged.")
    var charge: String?

    @Option(help: "The account of a statement.")
    var account: String?

    @Option(help: "The month of a statement: 2026-03.")
    var month: String?

    @Option(help: "A position in the ledger.")
    var position: Int64?

    @Option(help: "A file with an older checkpoint.")
    var fromCheckpoint: String?

    func run() throws {
        guard [charge, account, position.map(String.init), fromCheckpoint].compactMap(\.self).count == 1,
            (account == nil) == (month == nil)
        else {
            throw ValidationError("give one of --charge, --position, --from-checkpoint, or --account with --month")
        }
        let old = try fromCheckpoint.map { try checkpoint(inFile: $0, []) }
        let file = try openLedger(database)
        do {
            if let old {
                write(bytes: Array(try file.proveConsistency(from: old).description.utf8))
                return
            }
            try file.prove(try positions(file)) { write(bytes: Array($0.description.utf8)) }
        } catch let error as ProverError {
            complain("replay: \(error)")
            if case .conflict = error { throw ExitCode(1) }
            throw ExitCode(2)
        } catch let error as ExitCode {
            throw error
        } catch let error as ValidationError {
            throw error
        } catch ProofError.outOfRange {
            complain("replay: \(ProofError.outOfRange)")
            throw ExitCode(3)
        } catch {
            throw unusable(error)
        }
    }

    private func positions(_ file: LedgerFile) throws -> [Int64] {
        if let position { return [position] }
        if let charge {
            guard let id = RequestID(rawValue: charge) else { throw ValidationError("--charge is no valid request id") }
            guard let positions = try file.positions(ofCharge: id) else {
                complain("replay: there is no charge of request '\(charge)'")
                throw ExitCode(3)
            }
            return positions
        }
        let id = try accountID(account ?? "")
        guard let month = month.flatMap({ Month($0) }) else {
            throw ValidationError("--month must be one such as 2026-03")
        }
        let statement = try file.statement(of: id, from: month.start, until: month.next.start, now: now())
        guard let statement else { throw noAccount(account ?? "") }
        guard let versions = statement.versions else {
            complain("replay: nothing was recorded about '\(id)' in \(month)")
            throw ExitCode(3)
        }
        return try file.positions(of: id, versions: versions)
    }
}

/// `replay check-proof FILE --key PUB`
struct CheckProof: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check a proof against a public key; without a database, and without a server.",
        discussion: """
            Example: replay check-proof charge.tlog-proof --key ledger.example.com+1a2b3c4d+AbCd…

            Prints the events that are proven. A proof of two checkpoints also needs the older one: --old FILE. Exit codes: 0 it
            holds, 1 it does not, 64 wrong arguments.
            """)

    @Argument(help: "The file with the proof, or a checkpoint.")
    var file: String

    @Option(help: "A trusted public key, or a file of such; can be repeated.")
    var key: [String]

    @Option(help: "The older checkpoint that a consistency proof is about.")
    var old: String?

    func run() throws {
        let keys = try publicKeys(key)
        guard !keys.isEmpty else { throw ValidationError("give a --key") }
        let bytes = try contents(of: file)
        let before = try old.map { try contents(of: $0) }
        do throws(ProofError) {
            switch try ProofFile(bytes) {
            case .inclusion(let proofs):
                for (record, checkpoint) in try ProofFile.verify(proofs, keys) { write(Self.line(record, checkpoint)) }
            case .consistency(let proof):
                guard let before else { throw .malformed("the older checkpoint is missing: --old FILE") }
                let (old, new) = try proof.verify(from: SignedNote(before), keys)
                write(
                    "the \(new.size) events of \(new.origin) begin with the \(old.size) of the older checkpoint, unchanged"
                )
            case .checkpoint(let note):
                let checkpoint = try Checkpoint(note, signedByOneOf: keys)
                write("\(checkpoint.origin) had \(checkpoint.size) events, root \(checkpoint.root)")
            }
        } catch {
            complain("replay: the proof does not hold: \(error)")
            throw ExitCode(1)
        }
    }

    private static func line(_ record: ProvenRecord, _ checkpoint: Checkpoint) -> String {
        let event = record.event
        return "\(checkpoint.origin), event \(event.position) of \(checkpoint.size): \(event.event.type) of"
            + " \(event.account):\(event.version), recorded \(event.recordedAt), hash \(record.hash)\n"
            + String(decoding: event.event.encoded(), as: UTF8.self)
    }
}
