import ArgumentParser
import AsyncHTTPClient
import Crypto
import Hummingbird
import Yams
