import ArgumentParser
import Foundation
import Ledger

/// `LedgerServer generate-key`
struct GenerateKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Make a key that signs checkpoints: the secret for the configuration, and the public key to hand out.",
        discussion: """
            Example: LedgerServer generate-key --name ledger.example.com

            The name is which ledger the checkpoints are of; keep it when you make a new key.
            Exit codes: 0 made, 64 wrong arguments.
            """)

    @Option(help: "Which ledger it is: a host name, with a path where there are several.")
    var name: String

    func run() throws {
        var generator = SystemRandomNumberGenerator()
        let seed = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        guard let signer = NoteSigner(name: name, seed: seed) else {
            throw ValidationError("--name must not be empty, and have no space and no plus in it")
        }
        print("secret \(signer.secret)\npublic \(signer.key)")
    }
}
